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
        PermanentError: the object store refuses the login or the creation of a bucket.
    """
    # Imported here: boto3 takes half a second to import, and every command of the local stack imports this module.
    from botocore.exceptions import BotoCoreError, ClientError

    from gourmetgram.clients import s3

    client = s3.connect(settings, s3.JOB)
    try:
        for bucket in ALL:
            try:
                client.create_bucket(Bucket=bucket)
            except client.exceptions.BucketAlreadyOwnedByYou:
                continue
            except ClientError as error:
                raise PermanentError(f"The bucket {bucket} could not be created: {_reason(error)}") from error
    except BotoCoreError as error:
        # The error text of botocore names the address.
        raise TransientError(f"The object store does not answer; start it, then try again. {error}") from error
    finally:
        client.close()


def _reason(error: Any) -> str:  # noqa: ANN401 - botocore is imported late
    code = error.response["Error"]["Code"]
    if code in _WRONG_LOGIN:
        return f"the login is refused ({code}). Use the user and the password that the object store was started with."
    return f"the object store answers {code}. Its log says more."
