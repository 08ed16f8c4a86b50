"""The object store's part: pictures of erased images."""

from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.clients import s3
from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.erasure import ErasedIds
from gourmetgram.picture_keys import EXTENSIONS
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.inspection.objects import object_key

_AT_ONCE: Final = 1_000


def remove_pictures(settings: ObjectStoreSettings, ids: ErasedIds, addresses: list[str]) -> int:
    """Delete the pictures of images.

    Args:
        settings: the object store and the bucket of pictures.
        ids: ids of the images.
        addresses: values of `images.s3_url`, as far as there are rows.

    Returns:
        Number of keys that are gone now.

    Raises:
        TransientError: the object store is away, or kept a picture: run again.
    """
    bucket = settings.s3_bucket_name
    named = {key for address in addresses if (key := object_key(address, bucket))}
    keys = sorted({f"{image}.{extension}" for image in ids.images for extension in EXTENSIONS} | named)
    client = s3.connect(settings, s3.JOB)
    try:
        for first in range(0, len(keys), _AT_ONCE):
            wanted = [{"Key": key} for key in keys[first : first + _AT_ONCE]]
            answer: Any = client.delete_objects(Bucket=bucket, Delete={"Objects": wanted, "Quiet": True})
            if answer.get("Errors"):
                raise TransientError(f"the object store kept a picture: {answer['Errors'][0]}. Run the command again.")
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"pictures were not deleted: {error}. Run the command again.") from error
    finally:
        client.close()
    return len(keys)


def remaining_pictures(settings: ObjectStoreSettings, ids: ErasedIds) -> list[str]:
    """Keys in the bucket that name an erased id.

    Raises:
        TransientError: the object store is away.
    """
    client = s3.connect(settings, s3.JOB)
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=settings.s3_bucket_name)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    except (BotoCoreError, ClientError) as error:
        raise TransientError(f"the bucket of pictures could not be searched: {error}") from error
    finally:
        client.close()
    return [f"picture {key}" for key in keys if key.partition(".")[0].lower() in ids.all]
