"""Pictures in the object store: of one image for a trace, or all of them as a table."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.errors import TransientError
from gourmetgram.picture_keys import image_id_of
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.inspection.tables import StoreTables


class StoredObject(NamedTuple):
    """An object's facts. `size` in bytes."""

    key: str
    size: int
    content_type: str
    etag: str
    stored_at: datetime


def connect(settings: ObjectStoreSettings) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
    """An S3 client with short time-outs."""
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        region_name=settings.aws_region,
        config=Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2}, s3={"addressing_style": "path"}),
    )


def object_key(s3_url: str, bucket: str) -> str | None:
    """The key that an image's URL names in a bucket, or None when it names another place."""
    found, _, key = urlsplit(s3_url).path.lstrip("/").partition("/")
    return key if found == bucket and key else None


def load_objects(tables: StoreTables, client: Any, bucket: str) -> None:  # noqa: ANN401
    """Fill the table `objects` with key, time and image of each object of a bucket.

    Raises:
        TransientError: the object store is away, or has no such bucket.
    """

    def rows() -> Iterator[tuple[object, ...]]:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", ()):
                image_id = image_id_of(item["Key"])
                stored_us = round(item["LastModified"].timestamp() * 1_000_000)
                yield item["Key"], stored_us, str(image_id) if image_id else None

    try:
        tables.load("objects", rows())
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"the object store did not list {bucket}: {error}") from error


def describe(client: Any, bucket: str, key: str) -> StoredObject | None:  # noqa: ANN401
    """Facts of one object; None when it does not exist.

    Raises:
        TransientError: the object store is away.
    """
    try:
        answer = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise TransientError(f"the object store did not answer: {error}") from error
    except BotoCoreError as error:
        raise TransientError(f"the object store did not answer: {error}") from error
    return StoredObject(
        key, answer["ContentLength"], answer.get("ContentType", ""), answer["ETag"].strip('"'), answer["LastModified"]
    )
