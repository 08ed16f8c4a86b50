"""What the object store holds of the images."""

from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.errors import TransientError
from gourmetgram.settings import ObjectStoreSettings


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


def list_objects(client: Any, bucket: str) -> dict[str, int]:  # noqa: ANN401
    """When each object of a bucket was stored (microseconds since the epoch), by key.

    Raises:
        TransientError: the object store is away, or has no such bucket.
    """
    stored_us: dict[str, int] = {}
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            stored_us.update(
                (item["Key"], round(item["LastModified"].timestamp() * 1_000_000)) for item in page.get("Contents", ())
            )
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"the object store did not list {bucket}: {error}") from error
    return stored_us


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
