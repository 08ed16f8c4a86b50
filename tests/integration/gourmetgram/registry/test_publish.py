"""From a registered version to the served model, on the real registry, catalog and object store."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.pyfunc.model import PythonModel
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.registry import publish
from gourmetgram.registry.client import download_serving, log_serving_files, resolve
from gourmetgram.registry.connection import TrackingSettings, connect
from gourmetgram.registry.publish import FORCED, PUBLISHED_AT, PUBLISHED_VERSION, publish_registered
from gourmetgram.settings import ObjectStoreSettings
from model_training.lifecycle.basic_model import BasicModel
from model_training.lifecycle.config import ProjectConfig
from model_training.lifecycle.serving import frame_matrix
from model_training.lifecycle.sgd_model import sgd_pipeline
from risk_scoring_service.model_poller import ModelPoller
from tests.support.lifecycle_fixtures import TAGS, RegisterSgd
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = pytest.mark.servers


def basic(config: ProjectConfig, catalog: Catalog) -> BasicModel:
    model = BasicModel(config, TAGS, catalog)
    model.load_data()
    model.prepare_features()
    model.train()
    model.log_model()
    model.register_model()
    return model


def served(publisher: ModelPublisher) -> Any:
    """The model that the scorer loads."""
    poller = ModelPoller(publisher, interval_s=30)
    poller.look()
    assert poller.model is not None, poller.status()
    return poller.model


def test_a_lightgbm_model_goes_from_its_alias_to_the_scorer_with_equal_probabilities(
    registry: MlflowClient, moderation_config: ProjectConfig, catalog: Catalog, publisher: ModelPublisher
) -> None:
    snapshot = write_rows(catalog, synthetic_rows(images=1500))
    model = basic(moderation_config, catalog)
    uri = f"models:/{moderation_config.model_name_basic}@latest-model"
    done = publish_registered(registry, publisher, catalog, uri)
    assert done.decision is not None
    assert done.published, done.decision.reason
    assert (done.version, done.served_before) == (1, None)
    found = served(publisher)
    expected = model.pipeline.predict_proba(model.X_test)[:, 1]
    np.testing.assert_allclose(found.predict(frame_matrix(model.X_test)), expected, rtol=0, atol=1e-9)
    metadata = publisher.read_active().metadata
    assert metadata["algorithm"] == "LGBMClassifier"
    assert metadata["snapshot_id"] == str(snapshot)
    assert metadata["rows_seen"] == len(model.train_set)
    assert metadata["mlflow"] == {
        "run_id": model.run_id,
        "experiment_id": model.experiment_id,
        "model_id": model.model_info.model_id,
        "model_name": moderation_config.model_name_basic,
        "model_version": "1",
    }
    assert metadata["gate"]["passed"] is True
    assert "forced" not in metadata
    tags = registry.get_model_version(moderation_config.model_name_basic, "1").tags
    assert tags[PUBLISHED_VERSION] == "1"
    assert tags[PUBLISHED_AT] == metadata["updated_at"]
    assert FORCED not in tags


def test_the_sgd_model_is_registered_as_an_equal_pipeline_with_its_figures_and_data(
    registry: MlflowClient, register: RegisterSgd, catalog: Catalog
) -> None:
    snapshot = write_rows(catalog, synthetic_rows(images=300))
    registered = register()
    found = resolve(registry, f"models:/{registered.name}@latest-model")
    assert (found.name, found.version, found.run_id) == (registered.name, "1", registered.run_id)
    assert found.name.endswith(".moderation.moderation_model_sgd")
    assert found.tags == {"git_sha": "abcd12345", "branch": "main"}
    package = download_serving(registry, found)
    assert package.files == registered.package.files
    rows = basic_rows(catalog)
    loaded = mlflow.sklearn.load_model(f"models:/{registered.name}@latest-model")
    np.testing.assert_array_equal(loaded.predict_proba(rows), sgd_pipeline(package).predict_proba(rows))
    run = registry.get_run(registered.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train_data_version"] == str(snapshot)
    assert run.data.metrics["average_precision"] == package.metadata["metrics"]["model"]["average_precision"]
    assert run.data.metrics["heuristic_log_loss"] == package.metadata["metrics"]["heuristic"]["log_loss"]
    assert run.inputs is not None
    inputs = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "testing"}
    assert inputs["training"].digest.startswith(f"{snapshot}-")


def basic_rows(catalog: Catalog) -> Any:
    from gourmetgram.training.dataset import open_training_table
    from gourmetgram.training.frame import examples_frame

    return examples_frame(open_training_table(catalog).rows(1440).examples())


def test_a_model_that_is_not_better_is_not_published_unless_a_reason_is_given(
    registry: MlflowClient, register: RegisterSgd, catalog: Catalog, publisher: ModelPublisher
) -> None:
    write_rows(catalog, synthetic_rows(images=1500))
    first = publish_registered(registry, publisher, catalog, register(passes=None).uri)
    assert first.published
    same = register(passes=None)
    refused = publish_registered(registry, publisher, catalog, same.uri)
    assert not refused.published
    assert refused.version is None
    assert refused.decision is not None
    assert "log-loss" in refused.decision.reason
    assert "is equal to" in refused.decision.reason
    assert refused.decision.figures is not None
    assert refused.decision.figures.served == refused.decision.figures.candidate
    assert publisher.active_version() == 1
    assert PUBLISHED_VERSION not in resolve(registry, same.uri).tags
    with pytest.raises(PermanentError, match="Give the reason"):
        publish_registered(registry, publisher, catalog, same.uri, force=" ")
    forced = publish_registered(registry, publisher, catalog, same.uri, force="for the lesson")
    assert (forced.published, forced.version, forced.served_before) == (True, 2, 1)
    assert publisher.read_active().metadata["forced"] == "for the lesson"
    tags = resolve(registry, same.uri).tags
    assert (tags[PUBLISHED_VERSION], tags[FORCED]) == ("2", "for the lesson")


class DiedError(Exception):
    pass


def test_a_run_that_dies_before_its_tags_is_repeated_without_a_second_version(
    registry: MlflowClient,
    register: RegisterSgd,
    catalog: Catalog,
    publisher: ModelPublisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_rows(catalog, synthetic_rows(images=1500))
    uri = register(passes=None).uri

    def dies(*_: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch, pytest.raises(DiedError):
        patch.setattr(publish, "tag_version", dies)
        publish_registered(registry, publisher, catalog, uri)
    assert publisher.active_version() == 1
    assert PUBLISHED_VERSION not in resolve(registry, uri).tags
    again = publish_registered(registry, publisher, catalog, uri)
    assert (again.published, again.version, again.decision) == (True, 1, None)
    assert [found.version for found in publisher.versions()] == [1]
    assert resolve(registry, uri).tags[PUBLISHED_VERSION] == "1"


def test_two_publications_at_once_get_numbers_of_their_own(
    registry: MlflowClient,
    register: RegisterSgd,
    catalog: Catalog,
    publisher: ModelPublisher,
    lake_environment: dict[str, str],
) -> None:
    write_rows(catalog, synthetic_rows(images=1500))
    uris = [register(passes=passes).uri for passes in (20, 30)]
    settings, models = ObjectStoreSettings.load(lake_environment), ModelStoreSettings.load(lake_environment)
    others = [ModelPublisher(settings, models) for _ in uris]
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(publish_registered, registry, other, catalog, uri, "both")
            for other, uri in zip(others, uris, strict=True)
        ]
        done = [each.result() for each in waiting]
    assert sorted(each.version or 0 for each in done) == [1, 2]
    for each in done:
        assert publisher.read_version(each.version or 0).files == each.package.files
        assert resolve(registry, f"models:/{each.registered.name}/{each.registered.version}").tags[
            PUBLISHED_VERSION
        ] == str(each.version)
    for other in others:
        other.close()


class Wrapper(PythonModel):
    """A model that contains another one."""

    def predict(self, model_input: list[str]) -> list[str]:  # type: ignore[override]
        return model_input


@pytest.fixture(name="foreign")
def foreign_fixture(registry: MlflowClient, register: RegisterSgd, catalog: Catalog) -> dict[str, str]:
    """Addresses of registered models that cannot be served, by kind; `base` is one that can."""
    write_rows(catalog, synthetic_rows(images=100))
    base = register()
    found = resolve(registry, base.uri)
    package = download_serving(registry, found)
    wrapped, other = f"{base.name}_wrapper", f"{base.name}_other"
    pipeline = {"pipeline": f"models:/{found.model_id}"}
    metadata = {**package.metadata, "feature_names": ["another", "list"]}
    for name in (wrapped, other):
        with mlflow.start_run(experiment_id=base.experiment_id):
            logged = mlflow.pyfunc.log_model(
                name="wrapper", python_model=Wrapper(), artifacts=pipeline, pip_requirements=["mlflow-skinny"]
            )
            if name == other:
                log_serving_files(package._replace(metadata=metadata))
        mlflow.register_model(logged.model_uri, name)
    return {"base": base.uri, "name": base.name, "wrapper": f"models:/{wrapped}/1", "other": f"models:/{other}/1"}


def test_a_model_that_cannot_be_served_is_named_with_the_remedy(
    registry: MlflowClient, foreign: dict[str, str], catalog: Catalog, publisher: ModelPublisher
) -> None:
    sentences = {
        f"models:/{foreign['name']}.nothing@latest-model": "does not exist: no model has the name",
        f"models:/{foreign['name']}@best": r"does not exist: .* has @latest-model \(1\) and the versions 1 to 1",
        f"models:/{foreign['name']}/7": r"does not exist: .* has @latest-model \(1\)",
        "runs:/abc/model": "is no address of a registered model",
        foreign["wrapper"]: f"it is a wrapper, .* Publish its base {foreign['base']} instead",
        foreign["other"]: "The scorer would refuse version 1 of .*: metadata.json names other features",
    }
    for uri, sentence in sentences.items():
        with pytest.raises(PermanentError, match=sentence):
            publish_registered(registry, publisher, catalog, uri, force="always")
    assert publisher.versions() == []


def test_a_registry_that_is_away_is_named(registry: MlflowClient) -> None:
    address = mlflow.get_tracking_uri()
    try:
        with pytest.raises(TransientError, match=r"MLflow does not answer at http://127\.0\.0\.1:1: start it"):
            connect(TrackingSettings(mlflow_tracking_uri="http://127.0.0.1:1"))
    finally:
        connect(TrackingSettings(mlflow_tracking_uri=address))
