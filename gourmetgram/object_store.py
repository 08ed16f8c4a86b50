"""The object store for the APIs: asynchronous, with a deadline on every call, and without orphans.

obstore (Rust) instead of boto3: while it sends, it blocks neither the event loop nor the interpreter (docs/decisions/).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from gourmetgram.errors import TransientError
from gourmetgram.settings import ObjectStoreSettings

log = logging.getLogger(__name__)

WAIT_S: Final = 1.9
"""Longest wait of a request for the store. Rule 37 of docs/rules.md allows 2 s."""

_REMOVE_AGAIN_AFTER_S: Final = (0.0, 5.0, 30.0)
"""Times of removal after a write was given up: a store that wakes up later may still carry it out."""

_REMOVE_RETRY_MAX_S: Final = 30.0
_NO_SUCH_PREFIX: Final = "readiness-check/"

LIST_PAGE: Final = 1_000
"""Objects per listing: the most that S3 returns in one answer."""

T = TypeVar("T")


class Listed(NamedTuple):
    """An object in a listing; `stored_at` by the store's clock."""

    key: str
    stored_at: datetime


class ObjectStore:
    """The bucket of the uploaded images.

    Args:
        settings: where the store is.
    """

    def __init__(self, settings: ObjectStoreSettings) -> None:
        self._base_url = f"{settings.s3_endpoint_url.rstrip('/')}/{settings.s3_bucket_name}"
        keys: dict[str, Any] = (
            {"access_key_id": settings.aws_access_key_id, "secret_access_key": settings.aws_secret_access_key}
            if settings.uses_keys
            else {}
        )
        self._store = S3Store(
            settings.s3_bucket_name,
            endpoint=_endpoint(settings),
            **keys,
            region=settings.aws_region,
            virtual_hosted_style_request=settings.s3_addressing_style == "virtual",
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=1),
                "timeout": timedelta(seconds=WAIT_S),
                **({"root_certificate": Path(settings.aws_ca_bundle).read_bytes()} if settings.aws_ca_bundle else {}),
            },
            # A kept connection that a restarted server has closed costs one retry.
            retry_config={
                "max_retries": 2,
                "retry_timeout": timedelta(seconds=WAIT_S),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=20),
                    "max_backoff": timedelta(milliseconds=200),
                    "base": 2,
                },
            },
        )
        self._removals: set[asyncio.Task[None]] = set()

    def url(self, key: str) -> str:
        """The object's address, as stored in images.s3_url."""
        return f"{self._base_url}/{key}"

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store an object.

        Raises:
            TransientError: the store is away or too slow. The object may exist: call `discard`.
        """
        attributes = {"Content-Type": content_type}
        await _in_time(obstore.put_async(self._store, key, data, attributes=attributes, use_multipart=False))

    async def read(self, key: str) -> bytes | None:
        """Content of a small object; None without one.

        Raises:
            TransientError: the store is away or too slow.
        """

        async def content() -> bytes | None:
            try:
                answer = await obstore.get_async(self._store, key)
            except FileNotFoundError:
                return None
            return bytes(await answer.bytes_async())

        return await _in_time(content())

    async def check(self) -> None:
        """Check the bucket with a request that costs the store nothing.

        Raises:
            TransientError: the store or the bucket is not available.
        """
        await _in_time(obstore.list_with_delimiter_async(self._store, _NO_SUCH_PREFIX))

    async def pages(self) -> AsyncGenerator[list[Listed], None]:
        """All objects, page by page; each page has its own deadline.

        Raises:
            TransientError: the store is away or too slow.
        """
        stream = obstore.list(self._store, chunk_size=LIST_PAGE)
        while (page := await _in_time(anext(stream, None))) is not None:
            yield [Listed(item["path"], item["last_modified"]) for item in page]

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove objects with one request; missing ones count as removed.

        Raises:
            TransientError: the store is away or too slow. Some of the objects may be gone.
        """
        await _in_time(obstore.delete_async(self._store, keys))

    def discard(self, key: str) -> None:
        """Remove an object in the background, without a deadline for the caller."""
        task = asyncio.create_task(self._discard(key))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def stop(self, timeout_s: float = 1.0) -> None:
        """Wait for removals in progress, up to the time-out."""
        if self._removals:
            await asyncio.wait(self._removals, timeout=timeout_s)
        for task in list(self._removals):
            task.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)

    async def _discard(self, key: str) -> None:
        for pause_s in _REMOVE_AGAIN_AFTER_S:
            await asyncio.sleep(pause_s)
            await self._remove_for_certain(key)

    async def _remove_for_certain(self, key: str) -> None:
        pause_s = 0.2
        while True:
            try:
                await _in_time(obstore.delete_async(self._store, key))
            except TransientError as error:
                log.warning("Object %s is still to be removed: %s", key, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _REMOVE_RETRY_MAX_S)
            else:
                return


def _endpoint(settings: ObjectStoreSettings) -> str:
    """Address of the store; with the bucket's name in it where obstore expects that."""
    address = settings.s3_endpoint_url.rstrip("/")
    if settings.s3_addressing_style == "path":
        return address
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=f"{settings.s3_bucket_name}.{parts.netloc}"))


async def _in_time(call: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(WAIT_S):
            return await call
    except (BaseError, OSError) as error:
        # A missing bucket or a wrong key counts as an outage too: the operator repairs it, not the client.
        raise TransientError(f"the object store is not available: {type(error).__name__} {error}") from error
