"""Files of the data lake beside the warehouse: `raw/` and `processed/`.

A file is complete on this machine before it is sent, and the object store shows only complete objects. So no reader
sees a part of a file.
"""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.clients import s3
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import IcebergSettings


class Lake:
    """The folder that holds the warehouse, e.g. `s3://gourmetgram-datalake/`.

    Args:
        settings: location of the warehouse, and the login of its object store.
    """

    def __init__(self, settings: IcebergSettings) -> None:
        place = urlsplit(settings.warehouse_location)
        self._bucket = place.netloc
        # The path without its last part: empty in the lab, a prefix in tests.
        self._prefix = place.path.strip("/").rpartition("/")[0]
        self._client = s3.connect(settings.object_store, s3.BULK)

    def uri(self, name: str) -> str:
        """URI of a file, e.g. `raw/users/latest.parquet`."""
        return f"s3://{self._bucket}/{self._key(name)}"

    def upload(self, path: Path, name: str) -> None:
        """Store a local file, replacing the one of that name in one step.

        Raises:
            TransientError: the object store is away or refused the file.
        """
        try:
            self._client.upload_file(str(path), self._bucket, self._key(name))
        except (BotoCoreError, ClientError, S3UploadFailedError) as error:
            raise TransientError(f"{self.uri(name)} could not be written: {error}") from error

    def download(self, name: str, path: Path) -> None:
        """Fetch a file.

        Raises:
            PermanentError: the file does not exist.
            TransientError: the object store is away.
        """
        try:
            self._client.download_file(self._bucket, self._key(name), str(path))
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                raise PermanentError(f"{self.uri(name)} does not exist; the task before this one writes it") from error
            raise TransientError(f"{self.uri(name)} could not be read: {error}") from error
        except BotoCoreError as error:
            raise TransientError(f"{self.uri(name)} could not be read: {error}") from error

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; missing ones count as deleted.

        Raises:
            TransientError: the object store is away; some of the files may be gone.
        """
        try:
            for name in names:
                self._client.delete_object(Bucket=self._bucket, Key=self._key(name))
        except (BotoCoreError, ClientError) as error:
            raise TransientError(f"files of {self.uri('')} could not be deleted: {error}") from error

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name
