"""Reader of Redis keys: those of one image for a trace, or all of them as tables."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any, Final, NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gourmetgram.clients.redis import TOOL
from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.errors import TransientError
from gourmetgram.events import parse_uuid
from gourmetgram.redis_keys import IMAGE_KEYS, IMAGE_WINDOW, KEYS_OF_IMAGE, ImageKey, parse_image_key, score_us
from gourmetgram.settings import RedisSettings
from gourmetgram.windows import COUNTED_KINDS, WINDOW_US
from gourmetgram_tools.inspection.tables import StoreTables

_BATCH: Final = 1000
_LARGEST: Final = 2**62
_KIND_OF: Final = {plural: kind for kind, plural in COUNTED_KINDS.items()}


@dataclass(frozen=True)
class RedisKey:
    """A key of an image.

    Attributes:
        type: Redis's name of the type.
        length: number of members of a set, fields of a hash, or characters of a string.
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
    """Content of a key: text of a string, fields of a hash, members and scores of a sorted set."""

    key: str
    type: str
    ttl_s: int | None
    value: Any


@contextmanager
def connected(settings: RedisSettings) -> Iterator[RedisServers]:
    """Open clients that return texts.

    Raises:
        TransientError: Redis is away, goes away within the block, or was written with another list of servers.
    """
    try:
        with closing(RedisServers.connect(settings, TOOL, decode_responses=True)) as servers:
            servers.check()
            yield servers
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise TransientError(f"Redis did not answer: {error}") from error


def read_image_keys(settings: RedisSettings, image_id: str) -> list[RedisKey]:
    """Read all keys of an image, by name.

    Raises:
        TransientError: Redis is away.
    """
    with connected(settings) as servers:
        client = servers.of_image(image_id)
        return [_summary(content) for content in sorted(_contents(client, KEYS_OF_IMAGE % image_id))]


def memberships(settings: RedisSettings, image_id: str, kind: str, event_id: str) -> list[Membership]:
    """Find the windows that hold an event.

    Raises:
        TransientError: Redis is away.
    """
    plurals = [plural for counted, plural in COUNTED_KINDS.items() if counted == kind]
    keys = [IMAGE_WINDOW % (image_id, plural, window) for plural in plurals for window in WINDOW_US]
    with connected(settings) as servers:
        client = servers.of_image(image_id)
        return [
            Membership(key, str(member), int(client.ttl(key)))
            for key in keys
            for member, _score in client.zscan_iter(key, match=f"{kind}:*:{event_id[:8]}")
        ]


def load_redis(tables: StoreTables, settings: RedisSettings) -> None:
    """Fill the tables `redis_*` with all keys of images, of all servers.

    Raises:
        TransientError: Redis is away.
    """
    with connected(settings) as servers:
        for client in servers.clients:
            _load_server(tables, client, servers)


def _load_server(tables: StoreTables, client: Redis, servers: RedisServers) -> None:
    def rows() -> Iterator[tuple[str, tuple[object, ...]]]:
        for content in _contents(client, IMAGE_KEYS):
            key = parse_image_key(content.key)
            if key is None or parse_uuid(key.image_id) is None:
                continue
            try:
                if servers.of_image(key.image_id) is not client:
                    raise ValueError("a key on another server than that of its image")
                table, found = _rows(key, content)
            except (ValueError, OverflowError) as error:
                table, found = "redis_unreadable", [(f"{content.key}: {error}",)]
            yield from zip(repeat(table), found)

    tables.load_several(rows())


def _contents(client: Redis, pattern: str) -> Iterator[_Content]:
    """Read the keys of a pattern, a thousand a round trip; keys that expire meanwhile are left out."""
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


def _rows(key: ImageKey, content: _Content) -> tuple[str, list[tuple[object, ...]]]:
    """Table of a key, and its rows there.

    Raises:
        ValueError: type or content of the key do not fit its name.
        OverflowError: a time or number is too large.
    """
    kind = _KIND_OF.get(key.plural or "")
    wanted = {"window": "zset", "metadata": "hash"}.get(key.sort, "string")
    if content.type != wanted:
        raise ValueError(f"a {content.type} instead of a {wanted}")
    if key.sort == "window":
        members = ((member, _fitting(score_us(score))) for member, score in content.value)
        return "redis_members", [(key.image_id, kind, key.window, *member) for member in members]
    if key.sort == "metadata":
        return "redis_metadata", [(key.image_id, *field) for field in content.value.items()]
    if key.sort == "total":
        return "redis_totals", [(key.image_id, kind, _fitting(int(content.value)))]
    return "redis_alerts", [(key.image_id, key.trigger, _fitting(score_us(content.value)))]


def _fitting(number: int) -> int:
    """Return the number if it is possible.

    Raises:
        ValueError: the number is larger than any time or count of the platform.
    """
    if abs(number) > _LARGEST:
        raise ValueError(f"{number} is no time or count")
    return number
