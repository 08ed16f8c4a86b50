"""Repository of models: a folder of the object store, read with deadlines."""

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.clients import s3
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import ObjectStoreSettings

MAX_OBJECT_BYTES: Final = 256 * 1024 * 1024
"""Upper limit of an object, far above any model of this platform: a larger one would only fill the reader's memory."""

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

    def read(self, name: str) -> bytes:
        """Read one object.

        Args:
            name: key relative to the prefix.

        Raises:
            MissingObjectError: the object does not exist.
            PermanentError: the object is larger than `MAX_OBJECT_BYTES`.
            TransientError: the object store is away or refuses to answer.
        """
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            with answer["Body"] as body:
                if answer["ContentLength"] > MAX_OBJECT_BYTES:
                    raise PermanentError(f"{self.address}{name} is larger than {MAX_OBJECT_BYTES} bytes")
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
