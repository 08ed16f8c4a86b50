"""MLflow on a real stack: its page, runs in PostgreSQL, artifacts in MinIO, and its return after a kill."""

from collections.abc import Iterator

import httpx
import pytest
from mlflow import MlflowClient

from gourmetgram import buckets
from gourmetgram.clients import s3
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.local.stack import Stack
from tests.support.own_stack import own_stack

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_stack("own-mlflow", tmp_path_factory.mktemp("home")) as stack:
        stack.up(services=(MLFLOW,))
        yield stack


@pytest.fixture
def client(own: Stack) -> MlflowClient:
    return MlflowClient(tracking_uri=own.environment()["MLFLOW_TRACKING_URI"])


def test_its_page_opens_for_names_of_this_machine_only(own: Stack) -> None:
    page = httpx.get(f"http://localhost:{own.ports.mlflow}/")
    assert (page.status_code, "<title>MLflow" in page.text) == (200, True)
    foreign = httpx.get(
        f"http://127.0.0.1:{own.ports.mlflow}/api/2.0/mlflow/experiments/search?max_results=1",
        headers={"Host": "elsewhere.example"},
    )
    assert foreign.status_code == 403


def test_runs_outlive_a_kill_and_artifacts_lie_in_the_data_lake(own: Stack, client: MlflowClient) -> None:
    experiment = client.create_experiment("/Shared/kept")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "kept", "note.txt")
    own.kill(MLFLOW)
    own.wait_healthy(MLFLOW)
    kept = client.get_experiment_by_name("/Shared/kept")
    assert kept is not None
    assert kept.experiment_id == experiment
    assert [each.path for each in client.list_artifacts(run)] == ["note.txt"]
    store = s3.connect(ObjectStoreSettings.load(own.environment()), s3.POLLING)
    listed = store.list_objects_v2(Bucket=buckets.DATALAKE, Prefix="mlflow/")
    assert [each["Key"] for each in listed["Contents"]] == [f"mlflow/{experiment}/{run}/artifacts/note.txt"]
