"""The DAG model_retraining in a real Airflow, with MLflow and stores of its own.

Airflow takes half a minute to start: everything that needs it is in this module and in test_dags.py.
"""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from pyiceberg.catalog import Catalog

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.models.artifacts import MODEL_NAME
from gourmetgram.models.package import ModelPackage, digests
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.models.unpickling import load_artifact
from gourmetgram.registry.publish import PUBLISHED_VERSION
from gourmetgram.settings import IcebergSettings, ObjectStoreSettings, PostgresSettings
from gourmetgram.training.run import train
from gourmetgram_tools.local.airflow import AIRFLOW
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.orchestration import RunState
from model_training.lifecycle.drift_log import EXPERIMENT
from model_training.lifecycle.registration import ALIAS
from model_training.lifecycle.retraining import OUTCOME_TAG, Stores, check_drift
from tests.support.airflow_platform import AirflowPlatform
from tests.support.drift import serve
from tests.support.models import pickled
from tests.support.own_stack import own_stack
from tests.support.training_rows import synthetic_rows, write_rows
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(900),
    # MLflow warns about type hints of its own at its import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

DAG = "model_retraining"
TASKS = ["check_drift", "train", "register", "publish", "report"]
NAME = "gourmetgram_dev.moderation.moderation_model_basic"
IMAGES = 400
_RUN_S = 500
"""Seconds for a run: each of its five tasks imports LightGBM and MLflow, half a minute on a busy machine."""


class Retraining:
    """A stack with Airflow and MLflow, and what its stores hold."""

    def __init__(self, airflow: AirflowPlatform, catalog: Catalog, publisher: ModelPublisher) -> None:
        self.airflow = airflow
        self.catalog = catalog
        self.publisher = publisher
        self.variables = airflow.stack.environment()
        address = self.variables["MLFLOW_TRACKING_URI"]
        self.client = MlflowClient(tracking_uri=address, registry_uri=address)

    def decide(self, **values: Any) -> None:
        """Decisions on images of the same kind as the training rows, with some values changed."""
        rows = [{**row, **values} for row in synthetic_rows(IMAGES, seed=7)]
        serve(self.variables["DATABASE_URL"], rows, datetime.now(UTC))

    def newest(self) -> RunState:
        """The newest run, after the end of all."""
        self.airflow.wait_idle(_RUN_S)
        run = self.airflow.get(f"dags/{DAG}/dagRuns", order_by="-run_after", limit=1)["dag_runs"][0]
        return self.airflow.client.state(DAG, run["dag_run_id"])

    def result(self, state: RunState, task_id: str) -> dict[str, Any]:
        """Return value of a task."""
        found: dict[str, Any] = orjson.loads(self.airflow.xcoms(DAG, state.run_id)[f"{task_id}.return_value"])
        return found

    def checks(self) -> list[Run]:
        """Drift checks in MLflow, the newest first."""
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        return [] if experiment is None else list(self.client.search_runs([experiment.experiment_id]))

    def versions(self) -> list[str]:
        """Registered versions, the newest first."""
        return [str(each.version) for each in self.client.search_model_versions(f"name = '{NAME}'")]


@pytest.fixture(scope="module", name="retraining")
def retraining_fixture() -> Iterator[Retraining]:
    """A poor model is in use, trained on the only snapshot; decisions on images of the same kind."""
    with own_stack("retraining-test") as stack:
        stack.up(services=(*AIRFLOW, MLFLOW))
        variables = stack.environment()
        publisher = ModelPublisher(ObjectStoreSettings.load(variables), ModelStoreSettings.load(variables))
        with AirflowPlatform.connect(stack) as airflow, open_catalog(IcebergSettings.load(variables)) as catalog:
            write_rows(catalog, synthetic_rows(IMAGES))
            publisher.publish(contrary(train(catalog, version=1, passes=1).package))
            found = Retraining(airflow, catalog, publisher)
            found.decide()
            yield found
        publisher.close()


def contrary(package: ModelPackage) -> ModelPackage:
    """The same model, with the opposite opinion of each image: any other one is better."""
    model = load_artifact(package.files[MODEL_NAME])
    model.coef_ *= -1
    files = {**package.files, MODEL_NAME: pickled(model)}
    return ModelPackage(files, {**package.metadata, "sha256": digests(files)})


def states(state: RunState) -> dict[str, str | None]:
    return {task.task_id: task.state for task in state.tasks}


def test_the_dag_is_paused_daily_and_explains_its_parameters(retraining: Retraining) -> None:
    assert retraining.airflow.get("importErrors")["import_errors"] == []
    details = retraining.airflow.get(f"dags/{DAG}/details")
    assert (details["timetable_summary"], details["is_paused_upon_creation"]) == ("0 0 * * *", True)
    assert (details["catchup"], details["max_active_runs"], details["is_paused"]) == (False, 1, True)
    assert set(details["params"]) == {"force", "hours", "model", "environment"}
    assert all(each["description"] for each in details["params"].values())
    tasks = {task["task_id"]: task for task in retraining.airflow.get(f"dags/{DAG}/tasks")["tasks"]}
    assert set(tasks) == set(TASKS)
    for before, after in itertools.pairwise(TASKS):
        assert after in tasks[before]["downstream_task_ids"]
    assert {task["retries"] for task in tasks.values()} == {2}


def test_without_drift_the_run_is_green_and_nothing_is_trained(retraining: Retraining) -> None:
    # Unpausing starts the newest scheduled run.
    retraining.airflow.rest.patch(f"/api/v2/dags/{DAG}", json={"is_paused": False}).raise_for_status()
    wait_until(lambda: retraining.airflow.get(f"dags/{DAG}/dagRuns")["dag_runs"], 120, "the scheduled run")
    state = retraining.newest()
    skipped = dict.fromkeys(("train", "register", "publish"), "skipped")
    assert (state.state, states(state)) == ("success", {"check_drift": "success", **skipped, "report": "success"})
    outcome = retraining.result(state, "report")["outcome"]
    assert outcome.startswith("No training: No feature drifted: ")
    (check,) = retraining.checks()
    assert check.data.tags[OUTCOME_TAG] == outcome
    assert check.data.metrics["psi_max"] < 0.2
    assert (retraining.versions(), retraining.publisher.active_version()) == ([], 1)


def test_drift_leads_to_a_model_that_is_registered_and_put_in_use(retraining: Retraining) -> None:
    retraining.decide(category="Soup", caption_length=90)
    later = [{**row, "category": "Soup", "caption_length": 90} for row in synthetic_rows(IMAGES, seed=5)]
    snapshot = write_rows(retraining.catalog, [{**row, "image_id": f"1{row['image_id'][1:]}"} for row in later])
    done = retraining.airflow.dags("trigger", DAG, "--conf", '{"hours": 48}')
    assert done.returncode == 0, done.stdout + done.stderr
    state = retraining.newest()
    assert states(state) == dict.fromkeys(TASKS, "success")
    report = retraining.result(state, "report")
    assert set(report["drift"]["drifted"]) == {"category", "caption_length"}
    assert report["outcome"].startswith("Registered as version 1, in use as version 2, because average precision ")
    assert (report["registered_version"], report["published"]["version"]) == ("1", 2)
    served = retraining.publisher.read_active().metadata
    run_id = report["trained"]["run_id"]
    assert (served["version"], served["snapshot_id"], served["mlflow"]["run_id"]) == (2, str(snapshot), run_id)
    version = retraining.client.get_model_version_by_alias(NAME, ALIAS)
    assert (version.version, version.run_id, version.tags[PUBLISHED_VERSION]) == ("1", run_id, "2")
    assert retraining.client.get_run(run_id).data.tags["run_id"] == state.run_id
    assert retraining.checks()[0].data.tags[OUTCOME_TAG] == report["outcome"]


def test_repeated_tasks_register_and_publish_nothing_twice(retraining: Retraining) -> None:
    before = retraining.newest()
    clear = {
        "dry_run": False,
        "dag_run_id": before.run_id,
        "task_ids": ["register", "publish", "report"],
        "only_failed": False,
        "reset_dag_runs": True,
    }
    retraining.airflow.rest.post(f"/api/v2/dags/{DAG}/clearTaskInstances", json=clear).raise_for_status()
    state = retraining.airflow.client.wait(DAG, before.run_id, _RUN_S)
    assert states(state) == dict.fromkeys(TASKS, "success")
    assert retraining.result(state, "publish") == {"version": 2, "reason": "an earlier attempt published it"}
    assert retraining.versions() == ["1"]
    assert [each.version for each in retraining.publisher.versions()] == [1, 2]


def test_while_mlflow_is_away_a_task_waits_for_its_retry_and_the_gate_keeps_an_equal_model_out(
    retraining: Retraining,
) -> None:
    stack = retraining.airflow.stack
    stack.stop(MLFLOW)
    try:
        run_id = retraining.airflow.client.trigger(DAG, {"force": True})

        def retries() -> bool:
            return states(retraining.airflow.client.state(DAG, run_id)).get("check_drift") == "up_for_retry"

        wait_until(retries, _RUN_S, "a failed attempt of check_drift")
    finally:
        stack.start(MLFLOW)
    path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/check_drift/logs/1"
    assert "MLflow does not answer at http://127.0.0.1:" in str(retraining.airflow.get(path))
    state = retraining.airflow.client.wait(DAG, run_id, _RUN_S)
    assert states(state) == dict.fromkeys(TASKS, "success")
    report = retraining.result(state, "report")
    # The same rows give the same model.
    assert report["drift"]["reason"].startswith("The run asks for it (force). ")
    assert report["outcome"].startswith("Registered as version 2, not published: average precision ")
    assert "is equal, and log-loss " in report["outcome"]
    assert (retraining.versions(), retraining.publisher.active_version()) == (["2", "1"], 2)


def test_an_object_store_that_is_away_is_named(retraining: Retraining, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, stack = retraining.variables, retraining.airflow.stack
    monkeypatch.setenv("MLFLOW_TRACKING_URI", variables["MLFLOW_TRACKING_URI"])
    settings = (PostgresSettings, IcebergSettings, ModelStoreSettings)
    stores = Stores(*(each.load(variables) for each in settings))  # type: ignore[arg-type]
    stack.stop("minio")
    try:
        with pytest.raises(TransientError, match=r"models/moderation/metadata\.json could not be read"):
            check_drift(stores)
    finally:
        stack.start("minio")
