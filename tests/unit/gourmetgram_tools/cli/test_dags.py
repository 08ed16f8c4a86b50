"""What `gourmetgram dags trigger --wait` says about a run."""

import httpx
import pytest

from gourmetgram.errors import PlatformError
from gourmetgram_tools import orchestration
from gourmetgram_tools.cli.dags import follow
from gourmetgram_tools.orchestration import AirflowClient

TASK = {"task_id": "load_iceberg", "state": "success", "duration": 1.25, "start_date": "2026-05-01T12:00:00Z"}


def airflow_of(*states: str) -> AirflowClient:
    """Airflow whose run has these states in turn, with one task once it has begun."""
    left = list(states)
    begun = False

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal begun
        if request.url.path.endswith("/taskInstances"):
            return httpx.Response(200, json={"task_instances": [TASK] if begun else []})
        state = left.pop(0)
        begun = state != "queued"
        return httpx.Response(200, json={"state": state})

    return AirflowClient(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://airflow"))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestration, "_POLL_S", 0.0)


def test_a_queued_run_says_once_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    follow(airflow_of("queued", "queued", "queued", "running", "success"), "moderation_training", "r", 60)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "  moderation_training: queued, until the earlier runs of the DAG have ended",
        "  load_iceberg: success (1.2 s)",
    ]


def test_a_failed_run_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PlatformError, match="Run r of moderation_training failed"):
        follow(airflow_of("running", "failed"), "moderation_training", "r", 60)
    assert "queued" not in capsys.readouterr().err
