"""The buckets of the object store: their creation, and the mark of the database that owns the pictures."""

from typing import Any, Final, NamedTuple, Self

import orjson

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import ObjectStoreSettings

IMAGES: Final = "gourmetgram-images"
DATALAKE: Final = "gourmetgram-datalake"
ALL: Final = (DATALAKE, IMAGES)

OWNER_KEY: Final = ".owner"
"""Key of the mark in the bucket of pictures."""

_REMEDY: Final = (
    "If this database is the right one, run `gourmetgram adopt pictures`; if not, correct DATABASE_URL or restore the "
    "right one."
)


class BucketMark(NamedTuple):
    """Content of a bucket's mark.

    Attributes:
        installation: id of the database that owns the bucket, as text (table `installation`).
        sweeps: number of searches for orphans that this database had counted at the last one.
    """

    installation: str
    sweeps: int

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read the output of `content`."""
        document = orjson.loads(content)
        return cls(document["installation"], document["sweeps"])

    @property
    def content(self) -> bytes:
        """The mark as stored."""
        return orjson.dumps(self._asdict())

    def refusal(self, database: "BucketMark") -> str | None:
        """Reason for which a database does not own the marked bucket, and the remedy; None when it does.

        Args:
            database: the database's id and number of sweeps, read after the mark.
        """
        if self.installation != database.installation:
            return f"the bucket belongs to database {self.installation}, this is {database.installation}. {_REMEDY}"
        if self.sweeps > database.sweeps:
            return f"the bucket is newer than the database, which was restored from a backup. {_REMEDY}"
        return None


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


def read_mark(settings: ObjectStoreSettings) -> BucketMark | None:
    """The mark of the bucket of pictures; None without one.

    Raises:
        TransientError: the object store is away, or has no such bucket.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from gourmetgram.clients import s3

    client = s3.connect(settings, s3.JOB)
    try:
        answer = client.get_object(Bucket=settings.s3_bucket_name, Key=OWNER_KEY)
        return BucketMark.parse(answer["Body"].read())
    except client.exceptions.NoSuchKey:
        return None
    except (ClientError, BotoCoreError) as error:
        raise TransientError(f"the mark of {settings.s3_bucket_name} could not be read: {error}") from error
    finally:
        client.close()


def write_mark(settings: ObjectStoreSettings, mark: BucketMark) -> None:
    """Mark the bucket of pictures as that of a database, whatever its mark says.

    Raises:
        TransientError: the object store is away, or has no such bucket.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from gourmetgram.clients import s3

    client = s3.connect(settings, s3.JOB)
    try:
        client.put_object(
            Bucket=settings.s3_bucket_name, Key=OWNER_KEY, Body=mark.content, ContentType="application/json"
        )
    except (ClientError, BotoCoreError) as error:
        raise TransientError(f"the mark of {settings.s3_bucket_name} could not be written: {error}") from error
    finally:
        client.close()


def _reason(error: Any) -> str:  # noqa: ANN401 - botocore is imported late
    code = error.response["Error"]["Code"]
    if code in _WRONG_LOGIN:
        return f"the login is refused ({code}). Use the user and the password that the object store was started with."
    return f"the object store answers {code}. Its log says more."
