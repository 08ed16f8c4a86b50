"""MLflow or the object store away in the middle of a run: a sentence, no version, and a run that ends."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import mlflow
import pytest

from gourmetgram.errors import TransientError
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle.marvel import write_marvel_tables
from model_training.lifecycle.tracking import ABANDONED_AFTER, end_abandoned_runs, recorded_run
from tests.support.lifecycle_platform import TAGS, LifecyclePlatform, own_lifecycle
from tests.support.own_stack import own_stack

pytestmark = [pytest.mark.servers, pytest.mark.chaos]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_stack("own-lifecycle", tmp_path_factory.mktemp("home")) as stack:
        stack.up(services=(MLFLOW,))
        yield stack


@pytest.fixture(scope="module")
def faulty(own: Stack) -> Iterator[LifecyclePlatform]:
    """A platform whose servers may be stopped, with the rows of the example."""
    with pytest.MonkeyPatch.context() as patch:
        # Half a minute of waiting for a server that is away on purpose is left out.
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        for platform in own_lifecycle(own, "faulty"):
            write_marvel_tables(platform.catalog)
            yield platform


def test_without_the_object_store_a_run_fails_and_registers_nothing(own: Stack, faulty: LifecyclePlatform) -> None:
    config = faulty.config("marvel")
    model = faulty.trained(config)
    own.stop("minio")
    try:
        with pytest.raises(TransientError, match=r"Run \w+ failed: MLflow answers, but its .* object store"):
            model.log_model()
    finally:
        own.start("minio")
    assert faulty.runs(config.experiment_name_basic) == ["FAILED"]
    assert faulty.versions(config.model_name_basic) == []
    model.log_model()
    assert model.register_model() == "1"


def test_a_run_that_loses_mlflow_is_failed_by_a_later_one(own: Stack, faulty: LifecyclePlatform) -> None:
    experiment = "/Shared/lost"
    with (
        pytest.raises(TransientError, match=r"Run \w+ failed: MLflow does not answer at .* any more"),
        recorded_run(experiment, "lost", TAGS.to_dict()) as run,
    ):
        own.stop(MLFLOW)
        mlflow.log_metric("f1_score", 0.5)
    assert mlflow.active_run() is None
    own.start(MLFLOW)
    assert faulty.runs(experiment) == ["RUNNING"]
    assert end_abandoned_runs(run.info.experiment_id) == []
    assert end_abandoned_runs(run.info.experiment_id, datetime.now(UTC) + ABANDONED_AFTER + timedelta(minutes=1)) == [
        run.info.run_id
    ]
    assert faulty.runs(experiment) == ["FAILED"]


def test_a_restart_in_the_middle_of_a_run_is_waited_for(
    own: Stack, faulty: LifecyclePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "6")
    with recorded_run("/Shared/restarted", "restarted", TAGS.to_dict()):
        own.kill(MLFLOW)
        mlflow.log_metric("f1_score", 0.5)
    assert faulty.runs("/Shared/restarted") == ["FINISHED"]
