"""The buckets of the object store, and their creation."""

from typing import Any, Final

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import ObjectStoreSettings

IMAGES: Final = "gourmetgram-images"
DATALAKE: Final = "gourmetgram-datalake"
ALL: Final = (DATALAKE, IMAGES)

_WRONG_LOGIN: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})


def create(settings: ObjectStoreSettings) -> None:
    """Create the buckets that are absent.

    Args:
        settings: address and login of the object store.

    Raises:
        TransientError: the object store does not answer.
        PermanentError: it refuses the login, or a bucket.
    """
    # Imported here: half a second that every command of the local stack would wait for.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        region_name=settings.aws_region,
        config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 5}, s3={"addressing_style": "path"}),
    )
    try:
        for bucket in ALL:
            try:
                client.create_bucket(Bucket=bucket)
            except client.exceptions.BucketAlreadyOwnedByYou:
                continue
            except ClientError as error:
                raise PermanentError(f"The bucket {bucket} could not be created: {_reason(error)}") from error
    except BotoCoreError as error:
        # Boto's sentence names the address.
        raise TransientError(f"The object store does not answer; start it, then try again. {error}") from error
    finally:
        client.close()


def _reason(error: Any) -> str:  # noqa: ANN401 - botocore is imported late
    code = error.response["Error"]["Code"]
    if code in _WRONG_LOGIN:
        return f"the login is refused ({code}). Use the user and the password that the object store was started with."
    return f"the object store answers {code}. Its log says more."
