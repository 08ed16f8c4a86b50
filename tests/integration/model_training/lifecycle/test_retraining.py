"""The steps of a retraining on real servers: reasons, a better model, repeated steps, and outages."""

from datetime import UTC, datetime
from typing import Any

import pytest
from mlflow import MlflowClient
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.settings import IcebergSettings, PostgresSettings
from gourmetgram.training.evaluation import decimals
from gourmetgram.training.run import TrainingRun, train
from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle.config import ProjectConfig
from model_training.lifecycle.drift_log import EXPERIMENT
from model_training.lifecycle.registration import ALIAS
from model_training.lifecycle.retraining import (
    OUTCOME_TAG,
    Stores,
    check_drift,
    job_tags,
    project_config,
    publish_trained,
    register_trained,
    retrain,
    train_model,
)
from model_training.lifecycle.retraining_report import PublishOutcome, TrainedModel
from tests.conftest import UniqueName
from tests.support.drift import serve
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = [
    pytest.mark.servers,
    # MLflow warns about type hints of its own at its import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

IMAGES = 400
TAGS = job_tags("manual__1")


@pytest.fixture
def stores(lake_environment: dict[str, str], mlflow_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stores:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, mlflow_stack.environment()[name])
    return Stores(
        PostgresSettings.load(lake_environment),
        IcebergSettings.load(lake_environment),
        ModelStoreSettings.load(lake_environment),
    )


@pytest.fixture
def config(unique_name: UniqueName) -> ProjectConfig:
    """The project's configuration, with names of this test's own and few trees."""
    return project_config("dev").model_copy(
        update={
            "catalog_name": unique_name("retraining"),
            "experiment_name_basic": unique_name("/Shared/retraining"),
            "parameters": {"n_estimators": 20, "max_depth": 3},
        }
    )


@pytest.fixture
def experiment(unique_name: UniqueName) -> str:
    return unique_name(EXPERIMENT)


@pytest.fixture
def client(mlflow_stack: Stack) -> MlflowClient:
    address = mlflow_stack.environment()["MLFLOW_TRACKING_URI"]
    return MlflowClient(tracking_uri=address, registry_uri=address)


@pytest.fixture
def in_use(catalog: Catalog, publisher: ModelPublisher) -> TrainingRun:
    """The lab's model in use, trained on 400 images."""
    write_rows(catalog, synthetic_rows(IMAGES))
    run = train(catalog, version=1, passes=1)
    publisher.publish(run.package)
    return run


def decide(stores: Stores, **values: Any) -> None:
    """Decisions on images of the same kind, with some values changed."""
    rows = [{**row, **values} for row in synthetic_rows(IMAGES, seed=7)]
    serve(stores.postgres.database_url, rows, datetime.now(UTC))


def append_later_rows(catalog: Catalog) -> int:
    """A newer snapshot, with images of the other kind."""
    rows = [{**row, "category": "Soup", "caption_length": 90} for row in synthetic_rows(IMAGES, seed=5)]
    return write_rows(catalog, [{**row, "image_id": row["image_id"].replace("0000-", "1111-", 1)} for row in rows]) or 0


def versions(client: MlflowClient, config: ProjectConfig) -> list[str]:
    return [each.version for each in client.search_model_versions(f"name = '{config.model_name_basic}'")]


@pytest.mark.usefixtures("in_use")
def test_without_drift_nothing_is_trained_and_the_check_says_so(
    stores: Stores, config: ProjectConfig, experiment: str, client: MlflowClient
) -> None:
    decide(stores)
    report = retrain(stores, config, TAGS, experiment=experiment)
    assert report.outcome.startswith("No training: No feature drifted: ")
    assert (report.trained, report.registered_version, report.published) == (None, None, None)
    assert client.get_run(report.drift.run_id).data.tags[OUTCOME_TAG] == report.outcome
    assert client.get_experiment_by_name(config.experiment_name_basic) is None


def test_the_reasons_for_a_training(
    stores: Stores, catalog: Catalog, in_use: TrainingRun, publisher: ModelPublisher, experiment: str
) -> None:
    def check(force: bool = False) -> tuple[bool, str]:
        found = check_drift(stores, force=force, experiment=experiment)
        return found.train, found.reason

    train_it, reason = check()
    assert (train_it, reason.startswith("Too few rows for a comparison: 0 images")) == (False, True)
    train_it, reason = check(force=True)
    assert (train_it, reason.startswith("The run asks for it (force). Too few rows")) == (True, True)
    decide(stores, category="Soup")
    train_it, reason = check()
    assert not train_it
    assert f"But the model in use was trained on the newest snapshot, {in_use.snapshot_id}: trigger" in reason
    append_later_rows(catalog)
    train_it, reason = check()
    assert (train_it, reason.startswith("1 feature drifted: category has the largest index")) == (True, True)


def test_without_a_model_in_use_one_is_trained(stores: Stores, catalog: Catalog, experiment: str) -> None:
    write_rows(catalog, synthetic_rows(IMAGES))
    found = check_drift(stores, experiment=experiment)
    assert (found.train, found.reason, found.psi_max) == (True, "No model is in use.", None)


def test_a_repeated_registration_finds_the_version_of_its_run(
    stores: Stores, catalog: Catalog, config: ProjectConfig, client: MlflowClient
) -> None:
    write_rows(catalog, synthetic_rows(IMAGES))
    trained = train_model(stores, config, TAGS)
    assert (trained.improved, trained.model_name) == (True, config.model_name_basic)
    assert client.get_run(trained.run_id).data.tags["run_id"] == "manual__1"
    assert register_trained(trained, TAGS) == "1"
    # An attempt that ended before it moved the alias.
    client.delete_registered_model_alias(config.model_name_basic, ALIAS)
    assert register_trained(trained, TAGS) == "1"
    assert client.get_model_version_by_alias(config.model_name_basic, ALIAS).version == "1"
    again = train_model(stores, config, TAGS)
    assert register_trained(again, TAGS) == "2"
    # A late repetition of the first one leaves the alias on the newer version.
    assert register_trained(trained, TAGS) == "1"
    assert client.get_model_version_by_alias(config.model_name_basic, ALIAS).version == "2"
    assert sorted(versions(client, config)) == ["1", "2"]


def test_a_table_without_rows_and_an_mlflow_that_is_away_are_named(
    stores: Stores, catalog: Catalog, config: ProjectConfig, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(stores)
    with pytest.raises(PermanentError, match=r"moderation\.training_data has no rows yet"):
        check_drift(stores, experiment=experiment)
    with pytest.raises(PermanentError, match=r"moderation\.training_data has no rows yet"):
        train_model(stores, config, TAGS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    trained = TrainedModel(
        run_id="x", page="", model_uri="", model_name="a", snapshot_id="1", figure="", score=0, improved=True
    )
    for step in (
        lambda: check_drift(stores, experiment=experiment),
        lambda: train_model(stores, config, TAGS),
        lambda: register_trained(trained, TAGS),
    ):
        with pytest.raises(TransientError, match=r"MLflow does not answer at http://127\.0\.0\.1:1: start it"):
            step()


def test_a_better_model_is_put_in_use_once_and_an_equal_one_is_not(
    stores: Stores,
    catalog: Catalog,
    publisher: ModelPublisher,
    config: ProjectConfig,
    experiment: str,
    client: MlflowClient,
) -> None:
    write_rows(catalog, synthetic_rows(IMAGES))
    report = retrain(stores, config, TAGS, experiment=experiment)
    assert report.drift.reason == "No model is in use."
    assert report.trained is not None
    assert report.outcome.startswith("Registered as version 1, in use as version 1, because average precision ")
    assert publisher.read_active().metadata["mlflow"]["run_id"] == report.trained.run_id
    assert client.get_run(report.drift.run_id).data.tags[OUTCOME_TAG] == report.outcome
    # A repetition after a crash, also when people went back to another model since.
    again = publish_trained(stores, report.trained, "1")
    assert again == PublishOutcome(version=1, reason="an earlier attempt published it")
    other = train(catalog, version=1, passes=1)
    publisher.publish(other.package)
    assert publish_trained(stores, report.trained, "1") == again
    assert (publisher.active_version(), len(publisher.versions())) == (2, 2)
    publisher.activate(1)

    forced = retrain(stores, config, TAGS, force=True, experiment=experiment)
    assert forced.outcome.startswith("Registered as version 2, not published: average precision ")
    assert publisher.active_version() == 1
    assert sorted(versions(client, config)) == ["1", "2"]


# The poor model flags nothing.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.usefixtures("in_use")
def test_a_model_that_is_worse_than_the_registered_one_is_not_registered(
    stores: Stores, config: ProjectConfig, experiment: str, client: MlflowClient
) -> None:
    good = train_model(stores, config, TAGS)
    register_trained(good, TAGS)
    poor = config.model_copy(update={"parameters": {"n_estimators": 1, "max_depth": 1, "learning_rate": 0.0001}})
    report = retrain(stores, poor, TAGS, force=True, experiment=experiment)
    assert report.trained is not None
    assert not report.trained.improved
    assert report.outcome == (
        f"Trained, not registered: the registered model has a better F1 score than {decimals(report.trained.score)}."
    )
    assert versions(client, config) == ["1"]


def test_the_labs_model_is_retrained_in_the_same_way(
    stores: Stores,
    catalog: Catalog,
    publisher: ModelPublisher,
    config: ProjectConfig,
    experiment: str,
    client: MlflowClient,
) -> None:
    write_rows(catalog, synthetic_rows(IMAGES))
    report = retrain(stores, config, TAGS, model="sgd", experiment=experiment)
    name = f"{config.catalog_name}.moderation.moderation_model_sgd"
    assert report.trained is not None
    assert (report.trained.model_name, report.trained.figure) == (name, "average precision")
    assert report.outcome.startswith("Registered as version 1, in use as version 1, because average precision ")
    assert publisher.read_active().metadata["mlflow"]["model_name"] == name
    # The same rows give the same model, which is as good as the registered one, and not better than the served one.
    again = retrain(stores, config, TAGS, model="sgd", force=True, experiment=experiment)
    assert again.outcome.startswith("Registered as version 2, not published: average precision ")
    assert client.get_model_version_by_alias(name, ALIAS).version == "2"
    assert publisher.active_version() == 1
