"""MLflow for a test: the connection, and models of the moderation project under names of the test's own."""

from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from pyiceberg.catalog import Catalog

from gourmetgram.registry.connection import TrackingSettings, connect, silence_client
from gourmetgram.training.run import TrainingRun, train
from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle.config import CONFIG_FILES, ProjectConfig, Tags
from model_training.lifecycle.sgd_model import RegisteredRun, register_sgd
from tests.conftest import UniqueName

TAGS = Tags(git_sha="abcd12345", branch="main")
RegisterSgd = Callable[..., RegisteredRun]


@pytest.fixture(name="registry")
def registry_fixture(mlflow_stack: Stack) -> MlflowClient:
    """A client of the test stack's registry, with which the process is connected."""
    silence_client()
    connect(TrackingSettings.load(mlflow_stack.environment()))
    return MlflowClient()


@pytest.fixture
def moderation_config(unique_name: UniqueName) -> ProjectConfig:
    """The moderation project under names of this test's own, with few trees."""
    own = unique_name("test").replace("-", "_")
    config = ProjectConfig.from_yaml(CONFIG_FILES["moderation"])
    return config.model_copy(
        update={
            "catalog_name": own,
            "experiment_name_basic": f"/Shared/{own}-basic",
            "parameters": {**config.parameters, "n_estimators": 60, "learning_rate": 0.1, "n_jobs": 1},
        }
    )


@pytest.fixture
def register(registry: MlflowClient, moderation_config: ProjectConfig, catalog: Catalog) -> RegisterSgd:
    """Train an SGD model from the test's table and register it: `register()`, with options of `train`."""

    def run(**options: object) -> RegisteredRun:
        trained: TrainingRun = train(catalog, **{"version": 1, "passes": 3, **options})  # type: ignore[arg-type]
        return register_sgd(trained, moderation_config, TAGS, f"/Shared/{moderation_config.catalog_name}-sgd")

    return run
