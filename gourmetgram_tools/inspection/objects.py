"""Reader of pictures in the object store: of one image for a trace, or all of them as a table."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.buckets import OWNER_KEY
from gourmetgram.clients import s3
from gourmetgram.errors import TransientError
from gourmetgram.moments import to_us
from gourmetgram.picture_keys import image_id_of
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.inspection.tables import StoreTables


class StoredObject(NamedTuple):
    """Facts of an object; `size` is in bytes."""

    key: str
    size: int
    content_type: str
    etag: str
    stored_at: datetime


def object_key(s3_url: str, bucket: str) -> str | None:
    """Key that an image's URL names in a bucket; None for another place."""
    found, _, key = urlsplit(s3_url).path.lstrip("/").partition("/")
    return key if found == bucket and key else None


def load_objects(tables: StoreTables, settings: ObjectStoreSettings) -> None:
    """Fill the table `objects` with key, time and image of each object in the bucket of pictures.

    Raises:
        TransientError: the object store is away, or has no such bucket.
    """
    bucket = settings.s3_bucket_name

    def rows() -> Iterator[tuple[object, ...]]:
        for page in s3.connect(settings, s3.JOB).get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", ()):
                if item["Key"] == OWNER_KEY:
                    continue
                image_id = image_id_of(item["Key"])
                yield item["Key"], to_us(item["LastModified"]), str(image_id) if image_id else None

    try:
        tables.load("objects", rows())
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"the object store did not list {bucket}: {error}") from error


def describe(settings: ObjectStoreSettings, s3_url: str) -> StoredObject | None:
    """Facts of the picture that an image's URL names; None when there is none.

    Raises:
        TransientError: the object store is away.
    """
    key = object_key(s3_url, settings.s3_bucket_name)
    if key is None:
        return None
    try:
        answer = s3.connect(settings, s3.JOB).head_object(Bucket=settings.s3_bucket_name, Key=key)
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise TransientError(f"the object store did not answer: {error}") from error
    return StoredObject(
        key, answer["ContentLength"], answer.get("ContentType", ""), answer["ETag"].strip('"'), answer["LastModified"]
    )
