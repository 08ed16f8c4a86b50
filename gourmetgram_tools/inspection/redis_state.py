"""Keys of images in Redis: of one image for a trace, or all of them as tables."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gourmetgram.errors import TransientError
from gourmetgram.settings import RedisSettings
from gourmetgram_tools.inspection.tables import StoreTables

_KEY: Final = re.compile(
    r"image:(?P<image>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(?:(?P<kind>view|comment|flag)s:(?P<window>1min|5min|1hr)"
    r"|total_(?P<total>view|comment|flag)s|alert:(?P<alert>\w+)|(?P<metadata>metadata))"
)
_WINDOWS: Final = ("1min", "5min", "1hr")
_BATCH: Final = 1000
_LARGEST_US: Final = 2**62
"""Anything larger was typed in by hand, and is the time or number of nothing."""


@dataclass(frozen=True)
class RedisKey:
    """A key of an image.

    Attributes:
        type: Redis's name of the type.
        length: members of a set, fields of a hash, characters of a string.
        ttl_s: seconds until it expires; None = never.
        value: content of a string or hash; of a sorted set, its oldest and newest member.
    """

    key: str
    type: str
    length: int
    ttl_s: int | None
    value: str | dict[str, str] | None


@dataclass(frozen=True)
class Membership:
    """A window in Redis that holds an event."""

    key: str
    member: str
    ttl_s: int


class _Content(NamedTuple):
    """All that a key holds: text of a string, fields of a hash, members and scores of a sorted set."""

    key: str
    type: str
    ttl_s: int | None
    value: Any


@contextmanager
def connect(settings: RedisSettings) -> Iterator["Redis"]:
    """A client that waits at most ten seconds for an answer.

    Raises:
        TransientError: Redis is away, or goes away within the block.
    """
    try:
        with Redis(
            host=settings.redis_host,
            port=settings.redis_port,
            db=settings.redis_db,
            decode_responses=True,
            socket_timeout=10,
            socket_connect_timeout=5,
        ) as client:
            yield client
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise TransientError(f"Redis did not answer: {error}") from error


def microseconds(text_or_number: str | float) -> int:
    """Unix seconds, as Redis holds them, in whole microseconds.

    Raises:
        ValueError: the text is no number, or too large for a time.
    """
    seconds = float(text_or_number)
    if not abs(seconds * 1_000_000) < _LARGEST_US:
        raise ValueError(f"{text_or_number} is no time")
    return round(seconds * 1_000_000)


def read_image_keys(client: "Redis", image_id: str) -> list[RedisKey]:
    """All keys of an image, by name."""
    return [_summary(content) for content in sorted(_contents(client, f"image:{image_id}:*"))]


def memberships(client: "Redis", image_id: str, kind: str, event_id: str) -> list[Membership]:
    """The windows that hold an event of a kind (`view`, `comment` or `flag`)."""
    return [
        Membership(key, str(member), int(client.ttl(key)))
        for key in (f"image:{image_id}:{kind}s:{width}" for width in _WINDOWS)
        for member, _score in client.zscan_iter(key, match=f"{kind}:*:{event_id[:8]}")
    ]


def load_redis(tables: StoreTables, client: "Redis") -> None:
    """Fill the tables `redis_*` with all keys of images."""
    contents = _contents(client, "image:*")
    while batch := list(islice(contents, _BATCH)):
        rows: dict[str, list[tuple[object, ...]]] = {}
        for content in batch:
            match = _KEY.fullmatch(content.key)
            if match is None:
                continue
            try:
                table, found = _rows(match, content)
            except (ValueError, OverflowError) as error:
                table, found = "redis_unreadable", [(f"{content.key}: {error}",)]
            rows.setdefault(table, []).extend(found)
        for table, found in rows.items():
            tables.load(table, found)


def _contents(client: "Redis", pattern: str) -> Iterator[_Content]:
    """The keys of a pattern, a thousand a round trip; keys that expire meanwhile are left out."""
    keys = iter(dict.fromkeys(client.scan_iter(match=pattern, count=10 * _BATCH)))  # SCAN may return a key twice
    while batch := list(islice(keys, _BATCH)):
        asking = client.pipeline(transaction=False)
        for key in batch:
            asking.type(key)
            asking.ttl(key)
        answers = asking.execute()
        for key, kind in zip(batch, answers[::2], strict=True):
            if kind == "zset":
                asking.zrange(key, 0, -1, withscores=True)
            elif kind == "hash":
                asking.hgetall(key)
            else:
                asking.get(key)
        values = asking.execute(raise_on_error=False)
        for key, kind, ttl, value in zip(batch, answers[::2], answers[1::2], values, strict=True):
            if kind != "none" and value is not None:
                yield _Content(key, kind, ttl if ttl >= 0 else None, None if isinstance(value, Exception) else value)


def _summary(content: _Content) -> RedisKey:
    key, kind, ttl, value = content
    length = len(value or ())
    if kind == "zset":
        value = {"oldest": value[0][0], "newest": value[-1][0]} if value else None
    return RedisKey(key, kind, length, ttl, value)


def _rows(match: re.Match[str], content: _Content) -> tuple[str, list[tuple[object, ...]]]:
    """The table of a key, and its rows there.

    Raises:
        ValueError: type or content of the key are not those of its name.
    """
    image_id, value = match["image"], content.value
    wanted = "zset" if match["window"] else "hash" if match["metadata"] else "string"
    if content.type != wanted:
        raise ValueError(f"a {content.type} instead of a {wanted}")
    if match["window"]:
        place = (image_id, match["kind"], match["window"])
        return "redis_members", [(*place, member, microseconds(score)) for member, score in value]
    if match["metadata"]:
        return "redis_metadata", [(image_id, *field) for field in value.items()]
    if match["total"]:
        number = int(value)
        if abs(number) > _LARGEST_US:
            raise ValueError(f"{number} is no count")
        return "redis_totals", [(image_id, match["total"], number)]
    return "redis_alerts", [(image_id, match["alert"], microseconds(value))]
