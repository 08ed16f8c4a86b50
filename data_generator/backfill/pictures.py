"""Pictures of backfilled images: a few of each category in the object store, shared by all images of that category."""

from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from data_generator.food11 import CLASSES
from data_generator.sample_images import VARIANTS, picture_format, sample_file
from gourmetgram.clients import s3
from gourmetgram.errors import TransientError
from gourmetgram.settings import ObjectStoreSettings

SPLIT: Final = "training"
FOLDER: Final = "synthetic"
NUMBER: Final = len(CLASSES) * VARIANTS
"""Number of pictures: four of each category, 2 MB together."""


def store_pictures(settings: ObjectStoreSettings, each: Callable[[], None]) -> dict[str, list[str]]:
    """Store the pictures that are still missing.

    Args:
        settings: address and login of the object store.
        each: called after each of the `NUMBER` pictures.

    Returns:
        URLs (for images.s3_url) by category.

    Raises:
        TransientError: the object store does not answer, or has no such bucket.
    """
    client = s3.connect(settings, s3.JOB)
    base = f"{settings.s3_endpoint_url.rstrip('/')}/{settings.s3_bucket_name}"
    addresses: dict[str, list[str]] = {name: [] for name in CLASSES}
    try:
        there = _stored(client, settings.s3_bucket_name)
        for number, category in enumerate(CLASSES):
            for variant in range(VARIANTS):
                key = f"{FOLDER}/class_{number:02d}_{variant}.{picture_format(variant)}"
                if key not in there:
                    _store(client, settings.s3_bucket_name, key, sample_file(number, SPLIT, variant))
                addresses[category].append(f"{base}/{key}")
                each()
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"The pictures could not be stored at {base}: {error}") from error
    finally:
        client.close()
    return addresses


def _stored(client: Any, bucket: str) -> set[str]:  # noqa: ANN401 - made at run time by boto3
    answer = client.list_objects_v2(Bucket=bucket, Prefix=f"{FOLDER}/")
    return {item["Key"] for item in answer.get("Contents", ())}


def _store(client: Any, bucket: str, key: str, data: bytes) -> None:  # noqa: ANN401 - made at run time by boto3
    content_type = "image/png" if key.endswith(".png") else "image/jpeg"
    client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)
