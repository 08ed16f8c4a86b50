"""`gourmetgram drift` on real stores: the table, the JSON document, the HTML report, MLflow, and the exit code."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from mlflow import MlflowClient
from pyiceberg.catalog import Catalog
from typer.testing import CliRunner, Result

from gourmetgram.drift.report import drift_page
from gourmetgram.errors import TransientError
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.training.run import train
from gourmetgram_tools.cli.drift import compared_features
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle import drift_log
from model_training.lifecycle.drift_log import EXPERIMENT
from tests.conftest import UniqueName
from tests.support.drift import serve
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = pytest.mark.servers

IMAGES = 400
Command = Callable[..., Result]


@pytest.fixture
def snapshot(catalog: Catalog, publisher: ModelPublisher) -> int:
    """Training rows, and a model in use that was trained on them."""
    write_rows(catalog, synthetic_rows(IMAGES))
    run = train(catalog, version=1, passes=1)
    publisher.publish(run.package)
    return run.snapshot_id


@pytest.fixture
def command(lake_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr("gourmetgram_tools.cli.drift.running_environment", lambda *_: lake_environment)
    return lambda *words: CliRunner().invoke(app, ["drift", *map(str, words)])


def decide(variables: dict[str, str], **values: Any) -> None:
    """Decisions on images of the same kind, with some values changed."""
    rows = [{**row, **values} for row in synthetic_rows(IMAGES, seed=7)]
    serve(variables["DATABASE_URL"], rows, datetime.now(UTC))


def test_without_drift_the_command_says_so(command: Command, snapshot: int, lake_environment: dict[str, str]) -> None:
    decide(lake_environment)
    done = command("--fail-above", 0.2)
    assert done.exit_code == 0, done.output
    assert "Served:   1,200 decisions from " in done.output
    assert f"1,200 rows (400 at 0 min, 400 at 5 min, 400 at 30 min), snapshot {snapshot} (model version 1 is in" in (
        " ".join(done.output.split())
    )
    assert re.search(r"^ *user_age_days +0\.000 +stable *$", done.output, re.MULTILINE)
    assert done.output.rstrip().splitlines()[-1].startswith("No feature drifted: ")


def test_drift_is_shown_with_the_share_that_changed_and_may_fail_the_command(
    command: Command, snapshot: int, lake_environment: dict[str, str], tmp_path: Path
) -> None:
    decide(lake_environment, category="Soup", caption_length=90)
    html = tmp_path / "reports" / "drift.html"
    done = command("--report", html)
    assert done.exit_code == 0, done.output
    assert re.search(r"^ *category +\d\.\d{3} +drifted +Soup: 9 % → 100 % *$", done.output, re.MULTILINE)
    assert "2 features drifted: " in done.output
    text = html.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?://|<script|<link|<img", text)
    assert text.count('<details id="') == 19
    assert text.count(" open>") == 2
    assert f"snapshot <code>{snapshot}</code>" in text
    assert command("--fail-above", 0.2).exit_code == 1
    assert command("--fail-above", 100).exit_code == 0


def test_the_json_document_has_the_index_of_every_feature(
    command: Command, snapshot: int, lake_environment: dict[str, str]
) -> None:
    decide(lake_environment, views_5min=90, view_velocity_per_min=18.0)
    done = command("--json", "--hours", 2)
    assert done.exit_code == 0, done.output
    document = orjson.loads(done.stdout)
    assert set(document["drifted"]) == {"views_5min", "view_velocity_per_min"}
    assert document["psi_max"] == max(document["psi"].values())
    assert (document["served_rows"], document["training_rows"]) == (1200, 1200)
    assert (document["snapshot_id"], document["model_version"], document["missing"]) == (str(snapshot), 1, None)
    assert document["served_by_minutes"] == {"0": 400, "5": 400, "30": 400}


def test_too_few_rows_are_a_sentence_here_and_in_the_report(
    command: Command, snapshot: int, lake_environment: dict[str, str], tmp_path: Path
) -> None:
    html = tmp_path / "drift.html"
    done = command("--report", html, "--fail-above", 0)
    assert done.exit_code == 0, done.output
    assert "Too few rows for a comparison: 0 images" in " ".join(done.output.split())
    assert "Too few rows for a comparison: 0 images" in html.read_text()
    assert "<details" not in html.read_text()
    assert orjson.loads(command("--json").stdout)["psi"] == {}


def test_texts_of_messages_are_no_markup(snapshot: int, lake_environment: dict[str, str], command: Command) -> None:
    serve(lake_environment["DATABASE_URL"], synthetic_rows(10), datetime.now(UTC), trigger_type="<b>[red]odd</b>")
    assert "30 <b>[red]odd</b>" in command().output
    page = drift_page(compared_features(lake_environment, 24))
    assert "&lt;b&gt;[red]odd" in page
    assert "<b>[red]" not in page


def test_a_run_in_mlflow_has_the_indexes_and_the_page(
    command: Command,
    snapshot: int,
    lake_environment: dict[str, str],
    mlflow_stack: Stack,
    unique_name: UniqueName,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = unique_name(EXPERIMENT)
    monkeypatch.setattr(drift_log.log_drift, "__defaults__", (experiment,))
    decide(lake_environment, category="Soup")
    done = command("--log", "--json")
    assert done.exit_code == 0, done.output
    document = orjson.loads(done.stdout)
    client = MlflowClient(tracking_uri=mlflow_stack.environment()["MLFLOW_TRACKING_URI"])
    stored = client.get_experiment_by_name(experiment)
    assert stored is not None
    (run,) = client.search_runs([stored.experiment_id])
    assert document["mlflow"].endswith(f"/#/experiments/{stored.experiment_id}/runs/{run.info.run_id}")
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {
        **{f"psi_{name}": pytest.approx(value) for name, value in document["psi"].items()},
        "psi_max": pytest.approx(document["psi"]["category"]),
        "served_rows": 1200,
        "training_rows": 1200,
    }
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("gourmetgram.")}
    assert tags["gourmetgram.snapshot_id"] == str(snapshot)
    assert (tags["gourmetgram.model_version"], tags["gourmetgram.drifted"]) == ("1", "category")
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"drift.html", "drift.json"}
    page = Path(client.download_artifacts(run.info.run_id, "drift.html")).read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "1 feature drifted: category" in page


def test_with_too_few_rows_a_run_has_only_their_number(
    command: Command,
    snapshot: int,
    mlflow_stack: Stack,
    unique_name: UniqueName,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = unique_name(EXPERIMENT)
    monkeypatch.setattr(drift_log.log_drift, "__defaults__", (experiment,))
    done = command("--log")
    assert done.exit_code == 0, done.output
    assert f"MLflow: {mlflow_stack.environment()['MLFLOW_TRACKING_URI']}/#/experiments/" in done.output
    client = MlflowClient(tracking_uri=mlflow_stack.environment()["MLFLOW_TRACKING_URI"])
    stored = client.get_experiment_by_name(experiment)
    assert stored is not None
    (run,) = client.search_runs([stored.experiment_id])
    assert run.data.metrics == {"served_rows": 0, "training_rows": 0}


def test_mlflow_that_is_away_is_named(
    command: Command, snapshot: int, lake_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lake_environment, "MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    done = command("--log")
    assert isinstance(done.exception, TransientError)
    assert "MLflow does not answer at http://127.0.0.1:1: start it" in str(done.exception)
