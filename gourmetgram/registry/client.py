"""Registered models: from an address to a version, its run, and its four files."""

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import mlflow
import orjson
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from gourmetgram.errors import PermanentError
from gourmetgram.models.artifacts import ARTIFACT_NAMES, METADATA_NAME
from gourmetgram.models.package import ModelPackage, read_package, write_package
from gourmetgram.registry.address import parse_address
from gourmetgram.registry.connection import named_failures

SERVING_FOLDER: Final = "serving"
"""Folder of a run's artifacts with the four files that the scorer reads."""
SERVING_DIGEST: Final = "gourmetgram.serving_sha256"
"""Tag of a run: digest of its metadata.json. MLflow keeps it in its database, and the files in the bucket."""

_LOGGED_MODEL: Final = re.compile(r"models:/(?P<id>m-[0-9a-f]+)")
_ABSENT: Final = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_INVALID: Final = "INVALID_PARAMETER_VALUE"
"""MLflow's answer to an alias that does not exist."""


class RegisteredModel(NamedTuple):
    """One version of a registered name.

    Attributes:
        name: registered name.
        version: number of the version, as MLflow writes it.
        run_id: the run that logged the model.
        experiment_id: its experiment.
        model_id: the logged model, `m-…`; None for a version of an older MLflow.
        tags: tags of the version.
    """

    name: str
    version: str
    run_id: str
    experiment_id: str
    model_id: str | None
    tags: dict[str, str]

    def __str__(self) -> str:
        return f"version {self.version} of {self.name}"

    @property
    def document(self) -> dict[str, str | None]:
        """Document for metadata.json, under `mlflow`."""
        return {
            "run_id": self.run_id,
            "experiment_id": self.experiment_id,
            "model_id": self.model_id,
            "model_name": self.name,
            "model_version": self.version,
        }


def resolve(client: MlflowClient, uri: str) -> RegisteredModel:
    """The version that an address names.

    Args:
        client: client of the registry.
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        PermanentError: the text is no such address, or the name, the alias or the version does not exist.
        TransientError: MLflow is away.
    """
    name, alias, version = parse_address(uri)
    with named_failures(f"{uri} could not be resolved"):
        try:
            found = (
                client.get_model_version_by_alias(name, alias)
                if alias
                else client.get_model_version(name, str(version))
            )
        except MlflowException as error:
            if error.error_code not in {*_ABSENT, _INVALID}:
                raise
            raise PermanentError(_unknown(client, name, uri)) from error
        run_id = found.run_id or ""
        if not run_id:
            raise PermanentError(f"{uri} was registered without a run, so it has no files for the scorer.")
        return RegisteredModel(
            name=name,
            version=str(found.version),
            run_id=run_id,
            experiment_id=client.get_run(run_id).info.experiment_id,
            model_id=_model_id(found),
            tags=dict(found.tags),
        )


def log_serving_files(package: ModelPackage) -> None:
    """Log the four files to the active run, and the digest of metadata.json, which has those of the other three.

    Raises:
        MlflowException: MLflow or its object store is away.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_package(package, Path(folder))
        mlflow.log_artifacts(folder, SERVING_FOLDER)
        mlflow.set_tag(SERVING_DIGEST, _digest(Path(folder)))


def download_serving(client: MlflowClient, registered: RegisteredModel) -> ModelPackage:
    """The four files of a registered version. They are those that the run logged; their content is not checked.

    Raises:
        PermanentError: the version's run has no complete folder `serving/`, for example because it is a wrapper; or the
            folder is not as the run logged it.
        TransientError: MLflow or its object store is away.
    """
    with named_failures(f"The files of {registered} could not be read"):
        listed = {Path(each.path).name for each in client.list_artifacts(registered.run_id, SERVING_FOLDER)}
        missing = [name for name in (*ARTIFACT_NAMES, METADATA_NAME) if name not in listed]
        if missing:
            raise PermanentError(_no_files(client, registered, missing))
        logged = client.get_run(registered.run_id).data.tags.get(SERVING_DIGEST)
        with tempfile.TemporaryDirectory() as folder:
            found = Path(client.download_artifacts(registered.run_id, SERVING_FOLDER, folder))
            package = read_package(found)
            if logged != _digest(found):
                raise PermanentError(_changed(registered, logged))
            return package


def tag_version(client: MlflowClient, registered: RegisteredModel, tags: dict[str, str]) -> None:
    """Set tags of a registered version.

    Raises:
        TransientError: MLflow is away.
    """
    with named_failures(f"{registered} could not be tagged"):
        for key, value in tags.items():
            client.set_model_version_tag(registered.name, registered.version, key, value)


def _unknown(client: MlflowClient, name: str, uri: str) -> str:
    """A sentence about an address that names nothing, with what there is."""
    try:
        known = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        names = sorted(each.name for each in client.search_registered_models(max_results=20))
        there = f"The registry has {', '.join(names)}." if names else "The registry has no model yet: train one first."
        return f"{uri} does not exist: no model has the name {name}. {there}"
    versions = sorted(int(each.version) for each in client.search_model_versions(f"name = '{name}'"))
    aliases = ", ".join(f"@{alias} ({version})" for alias, version in sorted(dict(known.aliases).items())) or "no alias"
    numbers = f"the versions {versions[0]} to {versions[-1]}" if versions else "no version"
    return f"{uri} does not exist: {name} has {aliases} and {numbers}."


def _no_files(client: MlflowClient, registered: RegisteredModel, missing: list[str]) -> str:
    sentence = f"The run of {registered} has no {', '.join(f'{SERVING_FOLDER}/{name}' for name in missing)}"
    base = _base_of(client, registered)
    if base:
        return f"{sentence}: it is a wrapper, which the scorer does not load. Publish its base {base} instead."
    return f"{sentence}: the scorer cannot load it. Publish a model of the moderation project."


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / METADATA_NAME).read_bytes()).hexdigest()


def _changed(registered: RegisteredModel, logged: str | None) -> str:
    if logged is None:
        return f"The run of {registered} is of the time before digests of its files: train and register a new model."
    return f"{SERVING_FOLDER}/{METADATA_NAME} of {registered} is not the file that its run logged: it is not published."


def _base_of(client: MlflowClient, registered: RegisteredModel) -> str | None:
    """Address of the registered model that a wrapper contains; None for another model."""
    flavors: dict[str, Any] = mlflow.models.get_model_info(f"models:/{registered.name}/{registered.version}").flavors
    artifacts = flavors.get("python_function", {}).get("artifacts") or {}
    for each in artifacts.values():
        found = _LOGGED_MODEL.fullmatch(str(each.get("uri", "")))
        if found is None:
            continue
        versions = orjson.loads(client.get_logged_model(found["id"]).tags.get("mlflow.modelVersions", "[]"))
        if versions:
            return f"models:/{versions[-1]['name']}/{versions[-1]['version']}"
        return str(each["uri"])
    return None


def _model_id(version: ModelVersion) -> str | None:
    """The id of the logged model: by alias, MLflow leaves the field empty, and the source has it."""
    found = _LOGGED_MODEL.fullmatch(version.source or "")
    return version.model_id or (found["id"] if found else None)
