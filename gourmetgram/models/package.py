"""A trained model as four files, for storing and publishing."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gourmetgram.errors import PermanentError
from gourmetgram.models.artifacts import ARTIFACT_NAMES, METADATA_NAME
from gourmetgram.models.errors import ArtifactError


class ModelPackage(NamedTuple):
    """The four files of a model.

    Attributes:
        files: content of each of `ARTIFACT_NAMES`.
        metadata: the content of metadata.json.
    """

    files: dict[str, bytes]
    metadata: dict[str, Any]


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 by file name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def write_package(package: ModelPackage, folder: Path) -> None:
    """Write the four files, the metadata last: after an interruption the folder has no metadata that fits."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in package.files.items():
        (folder / name).write_bytes(content)
    (folder / METADATA_NAME).write_bytes(metadata_text(package.metadata))


def read_package(folder: Path) -> ModelPackage:
    """Read the output of `write_package`, without a check of its content.

    Raises:
        PermanentError: a file is missing, or metadata.json is no JSON object.
    """
    try:
        files = {name: (folder / name).read_bytes() for name in ARTIFACT_NAMES}
        text = (folder / METADATA_NAME).read_bytes()
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise PermanentError(f"{folder} has no {missing}: train a model first (`gourmetgram train`).") from error
    return ModelPackage(files, metadata_document(text, str(folder / METADATA_NAME)))


def metadata_document(text: bytes, place: str) -> dict[str, Any]:
    """The whole content of a metadata.json.

    Raises:
        ArtifactError: the text is no JSON object; the message names `place`.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"{place} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{place} is no JSON object")
    return document


def mlflow_origin(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Ids of the MLflow run and of the registered version that a model came from; empty for one without them."""
    origin = metadata.get("mlflow")
    return origin if isinstance(origin, dict) else {}


def metadata_text(metadata: Mapping[str, Any]) -> bytes:
    """Text of a metadata.json, indented for people."""
    return orjson.dumps(metadata, option=orjson.OPT_INDENT_2)
