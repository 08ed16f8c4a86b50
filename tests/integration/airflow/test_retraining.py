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
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
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
from tests.support.own_stack import own_stack
from tests.support.training_rows import synthetic_rows, write_rows
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(600),
    # MLflow warns about type hints of its own at its import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

DAG = "model_retraining"
TASKS = ["check_drift", "train", "register", "publish", "report"]
NAME = "gourmetgram_dev.moderation.moderation_model_basic"
IMAGES = 400


class Retraining:
    """A stack with Airflow and MLflow, and what its stores hold."""

    def __init__(self, airflow: AirflowPlatform, catalog: Catalog, publisher: ModelPublisher) -> None:
        self.airflow = airflow
        self.catalog = catalog
        self.publisher = publisher
        self.variables = airflow.stack.environment()
        self.client = MlflowClient(tracking_uri=self.variables["MLFLOW_TRACKING_URI"])

    def decide(self, **values: Any) -> None:
        """Decisions on images of the same kind as the training rows, with some values changed."""
        rows = [{**row, **values} for row in synthetic_rows(IMAGES, seed=7)]
        serve(self.variables["DATABASE_URL"], rows, datetime.now(UTC))

    def run(self, **conf: Any) -> RunState:
        """A run to its end, whatever it is."""
        run_id, _done = self.airflow.run(DAG, "--conf", orjson.dumps(conf).decode())
        self.airflow.wait_idle()
        return self.airflow.client.state(DAG, run_id)

    def result(self, state: RunState, task_id: str) -> dict[str, Any]:
        """What a task left for the others."""
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
    """The lab's model is in use, trained on the only snapshot; nothing was decided yet; the scheduled run is over."""
    with own_stack("retraining-test") as stack:
        stack.up(services=(*AIRFLOW, MLFLOW))
        variables = stack.environment()
        store = ModelStoreSettings.load(variables)
        publisher = ModelPublisher(ObjectStoreSettings.load(variables), store.model_bucket, store.model_prefix)
        with AirflowPlatform.connect(stack) as airflow, open_catalog(IcebergSettings.load(variables)) as catalog:
            write_rows(catalog, synthetic_rows(IMAGES))
            publisher.publish(train(catalog, version=1, passes=1).package)
            yield Retraining(airflow, catalog, publisher)
        publisher.close()


def states(state: RunState) -> dict[str, str | None]:
    return {task.task_id: task.state for task in state.tasks}


def test_the_dag_is_paused_daily_and_explains_its_parameters(retraining: Retraining) -> None:
    assert retraining.airflow.get("importErrors")["import_errors"] == []
    details = retraining.airflow.get(f"dags/{DAG}/details")
    assert (details["timetable_summary"], details["is_paused_upon_creation"]) == ("0 0 * * *", True)
    assert (details["catchup"], details["max_active_runs"], details["is_paused"]) == (False, 1, True)
    assert set(details["params"]) == {"force", "hours", "environment"}
    assert all(each["description"] for each in details["params"].values())
    tasks = {task["task_id"]: task for task in retraining.airflow.get(f"dags/{DAG}/tasks")["tasks"]}
    assert set(tasks) == set(TASKS)
    for before, after in itertools.pairwise(TASKS):
        assert after in tasks[before]["downstream_task_ids"]
    assert {task["retries"] for task in tasks.values()} == {2}


def test_without_drift_the_run_is_green_and_nothing_is_trained(retraining: Retraining) -> None:
    retraining.decide()
    state = retraining.run()
    skipped = dict.fromkeys(("train", "register", "publish"), "skipped")
    assert (state.state, states(state)) == ("success", {"check_drift": "success", **skipped, "report": "success"})
    outcome = retraining.result(state, "report")["outcome"]
    assert outcome.startswith("No training: No feature drifted: ")
    newest = retraining.checks()[0]
    assert newest.data.tags[OUTCOME_TAG] == outcome
    assert newest.data.metrics["psi_max"] < 0.2
    assert retraining.versions() == []
    assert retraining.publisher.active_version() == 1
