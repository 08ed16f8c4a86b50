"""`gourmetgram train --register` and `models publish --from` on the real registry, catalog and object store."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyiceberg.catalog import Catalog

from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.registry.client import resolve
from gourmetgram.registry.publish import PUBLISHED_VERSION
from gourmetgram_tools.cli import models
from gourmetgram_tools.cli import registry as registry_commands
from model_training.lifecycle.config import ProjectConfig
from tests.support.command import Run
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = pytest.mark.servers


@pytest.fixture(autouse=True)
def platform(
    lake_environment: dict[str, str], moderation_config: ProjectConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command acts on the stores and names of this test."""
    for module in (models, registry_commands):
        monkeypatch.setattr(module, "running_environment", lambda *_: lake_environment)
    monkeypatch.setattr(models, "moderation_config", lambda _env: moderation_config)
    monkeypatch.chdir(tmp_path)


def test_the_command_registers_publishes_and_refuses(
    registry: MlflowClient, moderation_config: ProjectConfig, catalog: Catalog, publisher: ModelPublisher, run: Run
) -> None:
    snapshot = write_rows(catalog, synthetic_rows(images=1500))
    name = f"{moderation_config.catalog_name}.moderation.moderation_model_sgd"
    code, output, _ = run("train", "--register")
    assert code == 0
    assert f"Registered: {name} version 1, alias latest-model" in output
    assert "/#/experiments/" in output
    assert publisher.versions() == []

    address = f"models:/{name}@latest-model"
    code, output, _ = run("models", "publish", "--from", address)
    assert code == 0, output
    assert "The candidate is better: average precision" in output
    assert "of the rules (policy v1)" in output
    assert "Version 1 is in use at" in output
    assert resolve(registry, address).tags[PUBLISHED_VERSION] == "1"

    code, output, _ = run("models", "publish", "--from", address)
    assert (code, "only its tags were written" in output) == (0, True)

    code, output, _ = run("train", "--register", "--publish", "--json")
    assert code == 1  # equal, so not better
    assert json.loads(output)["snapshot_id"] == str(snapshot)
    code, output, _ = run("models", "publish", "--from", address)
    assert code == 1
    assert "The candidate is not better" in output
    assert "Nothing is published." in output
    assert publisher.active_version() == 1

    code, output, _ = run("models", "publish", "--from", address, "--force", "for the lesson", "--json")
    document = json.loads(output)
    assert (code, document["version"], document["forced"]) == (0, 2, "for the lesson")
    assert document["gate"]["passed"] is False

    code, output, _ = run("models", "list")
    assert code == 0
    assert f"Version 1 is version 1 of {name} in MLflow\n" in output
    assert f"Version 2 is version 2 of {name} in MLflow\n" in output
