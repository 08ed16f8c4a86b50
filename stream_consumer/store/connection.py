"""Redis as a server that may be away: one error for all failures, and its settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from gourmetgram.errors import TransientError

log = logging.getLogger(__name__)

_LIST_ENTRIES: Final = 16
_NO_EVICTION: Final = "noeviction"


class RedisUnavailableError(TransientError):
    """Redis is away, too slow, or refuses."""


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn errors of the client into `RedisUnavailableError`."""
    try:
        yield
    except RedisError as error:
        raise RedisUnavailableError(f"Redis: {error}") from error


def tune(client: Redis) -> None:
    """Let Redis keep sorted sets of more than a few members as skip lists.

    Up to 128 members it would keep them as plain lists, which it reads from end to end for each added member: measured,
    four fifths of the work of a batch of views over 1,000 images. A server that refuses the setting works as well, only
    slower.

    Raises:
        RedisUnavailableError: Redis did not answer, or it may evict keys, which would change counts without a trace.
    """
    with redis_errors():
        try:
            client.config_set("zset-max-ziplist-entries", _LIST_ENTRIES)
            limits = cast(dict[str, str], client.config_get("maxmemory*"))
        except ResponseError as error:
            log.info("Redis keeps its own settings: %s", error)
            return
    policy = limits.get("maxmemory-policy", _NO_EVICTION)
    if int(limits.get("maxmemory", 0)) and policy != _NO_EVICTION:
        raise RedisUnavailableError(
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}), which would lose counts: "
            f"set it to {_NO_EVICTION} (redis-cli CONFIG SET maxmemory-policy {_NO_EVICTION})"
        )
