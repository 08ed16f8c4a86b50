"""Repository of models: a folder of the object store, read with deadlines."""

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.clients import s3
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.models.artifacts import ARTIFACT_NAMES, MAX_MODEL_BYTES
from gourmetgram.settings import ObjectStoreSettings

_MISSING: Final = {"NoSuchKey", "NoSuchBucket", "404"}


class MissingObjectError(PermanentError):
    """The object does not exist (yet)."""


class ModelRepository:
    """Reads the objects under a prefix.

    Args:
        settings: where the object store is.
        bucket: name of the bucket.
        prefix: key prefix that ends with a slash.
    """

    def __init__(self, settings: ObjectStoreSettings, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
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

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
