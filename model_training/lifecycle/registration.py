"""Registration of a logged model, with an alias that stays on the newest version."""

import contextlib
import io
import logging
from typing import Final, Protocol

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from gourmetgram.errors import PlatformError
from model_training.lifecycle.tracking import named_failures

log = logging.getLogger(__name__)

ALIAS: Final = "latest-model"

_NO_SUCH_VERSION: Final = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def register_version(model_uri: str, name: str, tags: dict[str, str]) -> str:
    """Register a model as the next version of a name, and put the alias on it.

    Of two registrations at the same time, both give a version, and the alias ends on the later one.

    Args:
        model_uri: address of the logged model, for example `runs:/<run_id>/lightgbm-pipeline-model`.
        name: registered name.
        tags: tags of the version.

    Returns:
        The version.

    Raises:
        TransientError: MLflow is away.
        PermanentError: MLflow refuses, for example because the model does not exist.
    """
    # MLflow prints two lines to the error output, which say the same as this function's caller.
    with named_failures(f"{name} could not be registered"), contextlib.redirect_stderr(io.StringIO()):
        version = str(mlflow.register_model(model_uri, name, tags=tags).version)
    client = MlflowClient()
    try:
        with named_failures(f"Version {version} of {name} did not get the alias {ALIAS}"):
            move_alias(RegisteredVersions(client, name))
    except PlatformError:
        _remove(client, name, version)
        raise
    return version


def aliased_version(name: str) -> ModelVersion | None:
    """The version behind the alias; None when the name or the alias does not exist.

    Raises:
        TransientError: MLflow is away.
    """
    with named_failures(f"The alias {ALIAS} of {name} could not be read"):
        try:
            return MlflowClient().get_model_version_by_alias(name, ALIAS)
        except MlflowException as error:
            if error.error_code in _NO_SUCH_VERSION:
                return None
            raise


class Versions(Protocol):
    """Versions of one registered name."""

    def newest_version(self) -> int:
        """Highest number of a version."""

    def set_alias(self, version: int) -> None:
        """Put the alias on a version."""


class RegisteredVersions:
    """Versions of one name in MLflow's registry.

    Args:
        client: MLflow's client.
        name: registered name.
    """

    def __init__(self, client: MlflowClient, name: str) -> None:
        self._client = client
        self._name = name

    def newest_version(self) -> int:
        """Highest number of a version."""
        return max(int(each.version) for each in self._client.search_model_versions(f"name = '{self._name}'"))

    def set_alias(self, version: int) -> None:
        """Put the alias on a version."""
        self._client.set_registered_model_alias(self._name, ALIAS, str(version))


def move_alias(versions: Versions) -> None:
    """Put the alias on the newest version.

    Each registration looks again after it moved the alias. So the last one to move it has seen every version that was
    registered before, and none moves it back to an earlier version.
    """
    moved = 0
    while (newest := versions.newest_version()) != moved:
        versions.set_alias(newest)
        moved = newest


def _remove(client: MlflowClient, name: str, version: str) -> None:
    """Delete a version without an alias; if MLflow is still away, the version stays and the log says so."""
    try:
        client.delete_model_version(name, version)
    except MlflowException:
        log.warning("Version %s of %s stays without the alias: the next registration moves the alias on", version, name)
