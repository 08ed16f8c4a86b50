"""MLflow's registry in the commands `gourmetgram train --register` and `gourmetgram models publish --from`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.cli.model_store import publisher_of
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import Target
from gourmetgram_tools.local.mlflow import MLFLOW

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from gourmetgram.models.publishing import ModelPublisher
    from gourmetgram.registry.publish import Publication
    from gourmetgram.training.run import TrainingRun
    from model_training.lifecycle.config import ProjectConfig


def publish_from_registry(
    context: typer.Context, uri: str, force: str | None, stack: str | None, target: Target, *, as_json: bool
) -> None:
    """Publish a registered model if it is better than the served one; else print the comparison and end with code 1.

    Raises:
        PermanentError: see `gourmetgram.registry.publish.publish_registered`.
        TransientError: a server is away.
    """
    from gourmetgram.registry.address import parse_address

    parse_address(uri)
    variables = running_environment(context, stack, target, ("postgres", "minio", MLFLOW))
    from gourmetgram_tools.cli.output import print_json

    publisher = publisher_of(variables)
    done = _published(variables, publisher, registry_client(variables), uri, force)
    if as_json:
        print_json(done.document())
    else:
        _print(publisher, done)
    if not done.published:
        raise typer.Exit(1)


def train_registered(
    variables: Mapping[str, str],
    publisher: "ModelPublisher",
    run: "TrainingRun",
    config: "ProjectConfig",
    folder: Path,
    *,
    publish: bool,
    as_json: bool,
) -> None:
    """Register a training run, and publish it on request; print all of it. The four files go to the folder.

    Raises:
        PlatformError: MLflow is away or refuses.
    """
    from gourmetgram.models.package import write_package
    from gourmetgram_tools.cli.models_view import print_training
    from gourmetgram_tools.cli.output import page, print_json
    from gourmetgram_tools.cli.registry_view import print_registered
    from model_training.lifecycle.config import Tags
    from model_training.lifecycle.origin import current_branch, current_commit
    from model_training.lifecycle.sgd_model import register_sgd

    client = registry_client(variables)
    with errors.status("Registering"):
        registered = register_sgd(run, config, Tags(git_sha=current_commit(), branch=current_branch()))
    done = _published(variables, publisher, client, registered.uri, None) if publish else None
    package = done.package if done and done.published else registered.package
    write_package(package, folder)
    if as_json:
        print_json(package.metadata)
    else:
        print_training(page(), run, folder)
        print_registered(page(), registered)
        if done:
            _print(publisher, done)
    if done and not done.published:
        raise typer.Exit(1)


def moderation_config(env: str) -> "ProjectConfig":
    """Configuration of the moderation project.

    Raises:
        SettingsError: there is no such environment.
    """
    from model_training.lifecycle.config import CONFIG_FILES, ProjectConfig

    return ProjectConfig.from_yaml(CONFIG_FILES["moderation"], env)


def registry_client(variables: Mapping[str, str]) -> "MlflowClient":
    """Client of a platform's registry, with which this process is connected.

    Raises:
        TransientError: MLflow does not answer.
    """
    from mlflow import MlflowClient

    from gourmetgram.registry.connection import TrackingSettings, connect, silence_client

    silence_client()
    connect(TrackingSettings.load(variables))
    return MlflowClient()


def _published(
    variables: Mapping[str, str], publisher: "ModelPublisher", client: "MlflowClient", uri: str, force: str | None
) -> "Publication":
    from gourmetgram.lakehouse.catalog import open_catalog
    from gourmetgram.registry.publish import publish_registered
    from gourmetgram.settings import IcebergSettings

    with open_catalog(IcebergSettings.load(variables)) as catalog, errors.status("Comparing on later images"):
        return publish_registered(client, publisher, catalog, uri, force)


def _print(publisher: "ModelPublisher", done: "Publication") -> None:
    from gourmetgram_tools.cli.models_view import print_published
    from gourmetgram_tools.cli.output import page
    from gourmetgram_tools.cli.registry_view import print_publication

    print_publication(page(), done)
    if done.version is not None:
        print_published(page(), publisher, done.version)
