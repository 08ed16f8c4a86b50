"""MLflow or the object store away in the middle of a run: a sentence, no version, and a run that ends."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import mlflow
import pytest

from gourmetgram.errors import TransientError
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.registry.client import resolve
from gourmetgram.registry.publish import PUBLISHED_VERSION, publish_registered
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram.training.run import train
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle.marvel import write_marvel_tables
from model_training.lifecycle.sgd_model import register_sgd
from model_training.lifecycle.tracking import ABANDONED_AFTER, end_abandoned_runs, recorded_run
from tests.support.lifecycle_platform import TAGS, LifecyclePlatform, own_lifecycle
from tests.support.own_stack import own_stack
from tests.support.training_rows import synthetic_rows, write_rows

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


def test_without_a_server_nothing_is_published_and_a_second_attempt_is(own: Stack, faulty: LifecyclePlatform) -> None:
    write_rows(faulty.catalog, synthetic_rows(images=100))
    run = train(faulty.catalog, version=1, passes=3)
    registered = register_sgd(run, faulty.config("moderation"), TAGS, f"/Shared/{faulty.name}-sgd")
    store = ObjectStoreSettings.load(faulty.environment)
    models = ModelStoreSettings.load({**faulty.environment, "MODEL_PREFIX": f"{faulty.name}/models/"})
    publisher = ModelPublisher(store, models)
    for server, sentence in (
        ("minio", r"The files of version 1 of .* could not be read: MLflow answers, but its .* object store"),
        (MLFLOW, r"models:/.* could not be resolved: MLflow does not answer at .* any more"),
    ):
        own.stop(server)
        try:
            with pytest.raises(TransientError, match=sentence):
                publish_registered(faulty.client, publisher, faulty.catalog, registered.uri, force="always")
        finally:
            own.start(server)
        assert publisher.versions() == []
        assert PUBLISHED_VERSION not in resolve(faulty.client, registered.uri).tags
    done = publish_registered(faulty.client, publisher, faulty.catalog, registered.uri, force="always")
    assert done.version == publisher.active_version() == 1
    publisher.close()


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
