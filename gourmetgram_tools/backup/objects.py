"""Objects of a bucket in one tar file, with their content types and metadata; the last member of a key counts."""

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.clients import s3
from gourmetgram.errors import TransientError
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.local.progress import StepReport

_CONTENT_TYPE: Final = "GOURMETGRAM.content-type"
_METADATA: Final = "GOURMETGRAM.metadata"
_GONE: Final = frozenset({"NoSuchKey", "404", "PreconditionFailed", "412"})
# Reads the tar file in its order; several threads would not.
_IN_ORDER: Final = TransferConfig(use_threads=False)
_PASSES: Final = 5


@contextmanager
def object_client(settings: ObjectStoreSettings) -> Iterator[Any]:
    """A client; boto3 has no types.

    Raises:
        TransientError: the object store does not answer, or refuses.
    """
    client = s3.connect(settings, s3.BULK)
    try:
        yield client
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"The object store does not answer, or refuses: {error}") from error
    finally:
        client.close()


def listed(client: Any, bucket: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - see object_client
    """Key and ETag of each object."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", ()):
            yield item["Key"], item["ETag"]


class ObjectArchive:
    """A tar file that grows by objects of one bucket.

    Attributes:
        held: ETag of each object in the file, by key.
    """

    def __init__(self, client: Any, bucket: str, file: Path) -> None:  # noqa: ANN401 - see object_client
        self._client = client
        self._bucket = bucket
        self._tar = tarfile.open(file, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by __exit__
        self.held: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._tar.close()

    def add(self, key: str) -> bool:
        """Copy an object; False if the bucket does not have it."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return False
            raise
        member = tarfile.TarInfo(key)
        member.size = answer["ContentLength"]
        member.mtime = int(answer["LastModified"].timestamp())
        member.pax_headers = {
            _CONTENT_TYPE: answer.get("ContentType", "binary/octet-stream"),
            _METADATA: json.dumps(answer.get("Metadata", {})),
        }
        with answer["Body"] as body:
            self._tar.addfile(member, body)
        self._tar.members.clear()  # type: ignore[attr-defined] # it keeps every member; the file does not need them
        self.held[key] = answer["ETag"]
        return True

    def add_changed(self, report: StepReport, without: str | None = None) -> int:
        """Copy the objects that are new or changed since the last call, and return their number.

        Args:
            report: receives the progress.
            without: prefix of keys to leave out.
        """
        added = 0
        for key, etag in listed(self._client, self._bucket):
            if self.held.get(key) != etag and not (without and key.startswith(without)):
                added += self.add(key)
                report(f"{len(self.held):,} objects")
        return added

    def add_until_unchanged(self, report: StepReport, without: str | None = None) -> None:
        """Repeat `add_changed` until a pass finds no change: then all objects are of one moment.

        Raises:
            TransientError: objects changed in every pass.
        """
        for _ in range(_PASSES):
            if not self.add_changed(report, without):
                return
        raise TransientError(f"Objects of {self._bucket} change all the time: make the backup again in a quiet moment.")


def restore_objects(client: Any, bucket: str, file: Path, report: StepReport) -> int:  # noqa: ANN401 - see object_client
    """Store the objects of an archive, and return their number."""
    number = 0
    with tarfile.open(file, "r:") as tar:
        while (member := tar.next()) is not None:
            content = tar.extractfile(member)
            headers = member.pax_headers
            options = {"ContentType": headers[_CONTENT_TYPE], "Metadata": json.loads(headers[_METADATA])}
            client.upload_fileobj(content, bucket, member.name, ExtraArgs=options, Config=_IN_ORDER)
            tar.members.clear()  # type: ignore[attr-defined] # it keeps every member
            number += 1
            report(f"{number:,} objects")
    return number
