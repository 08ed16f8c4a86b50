"""Repository of models: a folder of the object store, read with deadlines."""

from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.clients import s3
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.models.artifacts import (
    ARTIFACT_NAMES,
    MAX_MODEL_BYTES,
    METADATA_NAME,
    ModelMetadata,
    parse_metadata,
)
from gourmetgram.models.package import metadata_document, metadata_text
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.models.signing import verify
from gourmetgram.settings import ObjectStoreSettings

_MISSING: Final = {"NoSuchKey", "NoSuchBucket", "404"}


class MissingObjectError(PermanentError):
    """The object does not exist (yet)."""


class ModelRepository:
    """Reads the objects under a prefix.

    Args:
        settings: where the object store is.
        models: the folder, and the keys that sign the models in it.
    """

    def __init__(self, settings: ObjectStoreSettings, models: ModelStoreSettings) -> None:
        self.bucket = models.model_bucket
        self.prefix = models.model_prefix
        self._models = models
        self._client = s3.connect(settings, s3.POLLING)

    @property
    def address(self) -> str:
        """Address of the folder, e.g. `s3://gourmetgram-datalake/models/moderation/`."""
        return f"s3://{self.bucket}/{self.prefix}"

    def read_model(self, folder: str) -> dict[str, bytes]:
        """Read the artifacts of a model, by file name.

        Args:
            folder: their key prefix relative to the prefix of the repository.

        Raises:
            MissingObjectError: an artifact does not exist.
            PermanentError: the artifacts are larger than `MAX_MODEL_BYTES` together.
            TransientError: the object store is away or refuses to answer.
        """
        files: dict[str, bytes] = {}
        left = MAX_MODEL_BYTES
        for name in ARTIFACT_NAMES:
            files[name] = self.read(folder + name, left)
            left -= len(files[name])
        return files

    def read(self, name: str, at_most: int = MAX_MODEL_BYTES) -> bytes:
        """Read one object.

        Args:
            name: key relative to the prefix.
            at_most: largest size, bytes.

        Raises:
            MissingObjectError: the object does not exist.
            PermanentError: the object is larger than `at_most`.
            TransientError: the object store is away or refuses to answer.
        """
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            with answer["Body"] as body:
                if answer["ContentLength"] > at_most:
                    raise PermanentError(
                        f"{self.address}{name} has {answer['ContentLength']} bytes. The files of a model may have "
                        f"{MAX_MODEL_BYTES} bytes together, as the scorer's memory is limited. Train a smaller model."
                    )
                content: bytes = body.read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                raise MissingObjectError(f"{self.address}{name} does not exist") from error
            raise TransientError(f"{self.address}{name} could not be read: {error}") from error
        except BotoCoreError as error:
            raise TransientError(f"{self.address}{name} could not be read: {error}") from error
        return content

    def read_metadata(self, name: str = METADATA_NAME) -> dict[str, Any]:
        """The content of a metadata.json, after a check of its signature.

        Args:
            name: key relative to the prefix; the default is that of the model in use.

        Raises:
            MissingObjectError: the object does not exist.
            ArtifactError: it is not authentic, or no JSON object.
            PermanentError: the signing keys cannot be read.
            TransientError: the object store is away.
        """
        address = self.address + name
        document = metadata_document(self.read(name), address)
        verify(document, address, self._models.signing_keys())
        return document

    def served_metadata(self) -> ModelMetadata:
        """The metadata of the model in use. Errors are those of `read_metadata`."""
        return parse_metadata(metadata_text(self.read_metadata()))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
