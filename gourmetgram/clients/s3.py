"""The S3 client of jobs, workers and tools. The APIs use `gourmetgram.object_store`, which is asynchronous."""

from typing import Any, Final, NamedTuple

import boto3
from botocore.config import Config

from gourmetgram.settings import ObjectStoreSettings


class S3Deadlines(NamedTuple):
    """Time-outs of one attempt, and the number of attempts.

    Attributes:
        connect_s: seconds until a connection must stand.
        read_s: seconds of silence after which an answer counts as lost.
        attempts: attempts in all, the first included.
    """

    connect_s: float
    read_s: float
    attempts: int


POLLING: Final = S3Deadlines(2, 5, 2)
"""For a caller that polls anyway, like the scorer's model poller: an outage shows within seconds."""

JOB: Final = S3Deadlines(5, 20, 5)
"""For a job or a command that ends on failure: its attempts cover a store that is still starting."""

BULK: Final = S3Deadlines(5, 60, 4)
"""For files of many megabytes: the store may be silent for a long time while it writes one to disk."""


def connect(settings: ObjectStoreSettings, deadlines: S3Deadlines) -> Any:  # noqa: ANN401 - made at run time by boto3
    """Build a client; it connects with the first request. Close it with `close()`.

    Args:
        settings: address and login of the object store.
        deadlines: one of `POLLING`, `JOB`, `BULK`.
    """
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        # Without keys, boto3 asks its chain of providers.
        aws_access_key_id=settings.aws_access_key_id if settings.uses_keys else None,
        aws_secret_access_key=settings.aws_secret_access_key if settings.uses_keys else None,
        verify=settings.aws_ca_bundle or None,
        region_name=settings.aws_region,
        config=Config(
            connect_timeout=deadlines.connect_s,
            read_timeout=deadlines.read_s,
            retries={"total_max_attempts": deadlines.attempts},
            s3={"addressing_style": settings.s3_addressing_style},
        ),
    )
