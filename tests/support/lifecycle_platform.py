"""MLflow and a lakehouse with names of one test module's own, for the life of models."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from mlflow import MlflowClient
from pyiceberg.catalog import Catalog

from gourmetgram import buckets
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings
from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle.basic_model import BasicModel
from model_training.lifecycle.config import CONFIG_FILES, ProjectConfig, Tags
from model_training.lifecycle.tracking import TrackingSettings, connect
from tests.conftest import UniqueName
from tests.support.databases import create_database, drop_database

TAGS = Tags(git_sha="abcd12345", branch="main")

QUICK = {"learning_rate": 0.1, "n_estimators": 40, "max_depth": 6}
"""Parameters with which a training takes no time."""


@dataclass(frozen=True)
class LifecyclePlatform:
    """A lakehouse and names in MLflow that belong to one test module.

    Attributes:
        catalog: the Iceberg catalog.
        environment: variables with which another process finds both.
        name: first part of the names.
    """

    catalog: Catalog
    environment: dict[str, str]
    name: str

    @property
    def client(self) -> MlflowClient:
        """Client of the server."""
        return MlflowClient(self.environment["MLFLOW_TRACKING_URI"])

    def config(self, project: str, **changes: Any) -> ProjectConfig:
        """Configuration of a project, with names of this module's own and few trees."""
        own = {
            "catalog_name": self.name,
            "experiment_name_basic": f"/Shared/{self.name}-{project}-basic",
            "experiment_name_custom": f"/Shared/{self.name}-{project}-custom",
            "parameters": QUICK,
        }
        return ProjectConfig.from_yaml(CONFIG_FILES[project], "dev").model_copy(update=own | changes)

    def trained(self, config: ProjectConfig, tags: Tags = TAGS) -> BasicModel:
        """A fitted model, not yet logged."""
        model = BasicModel(config, tags, self.catalog)
        model.load_data()
        model.prepare_features()
        model.train()
        return model

    def logged(self, config: ProjectConfig, tags: Tags = TAGS) -> BasicModel:
        """A fitted and logged model, not yet registered."""
        model = self.trained(config, tags)
        model.log_model()
        return model

    def versions(self, name: str) -> list[int]:
        """Registered versions of a name, sorted."""
        return sorted(int(each.version) for each in self.client.search_model_versions(f"name = '{name}'"))

    def runs(self, experiment: str) -> list[str]:
        """Status of each run of an experiment; empty when there is none."""
        found = self.client.get_experiment_by_name(experiment)
        return [] if found is None else [each.info.status for each in self.client.search_runs([found.experiment_id])]


def own_lifecycle(stack: Stack, name: str) -> Iterator[LifecyclePlatform]:
    """A platform on a running stack with MLflow, whose database is dropped afterwards."""
    url = create_database(stack, name)
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    environment = {
        **stack.environment(),
        "DATABASE_URL": url,
        f"{prefix}URI": url.replace("postgresql://", "postgresql+psycopg2://"),
        f"{prefix}WAREHOUSE": f"s3://{buckets.DATALAKE}/{name}/warehouse",
    }
    connect(TrackingSettings.load({"MLFLOW_TRACKING_URI": environment["MLFLOW_TRACKING_URI"]}))
    with open_catalog(IcebergSettings.load(environment)) as catalog:
        yield LifecyclePlatform(catalog, environment, name)
    drop_database(stack, name)


@pytest.fixture(scope="module")
def lifecycle(mlflow_stack: Stack, unique_name: UniqueName) -> Iterator[LifecyclePlatform]:
    """A platform for this test module."""
    yield from own_lifecycle(mlflow_stack, unique_name("lifecycle"))
