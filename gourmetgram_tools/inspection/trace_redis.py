"""One image in Redis: all its keys."""

from dataclasses import dataclass

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gourmetgram.errors import TransientError


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


def read_image_keys(client: "Redis", image_id: str) -> list[RedisKey]:
    """All keys of an image, by name.

    Raises:
        TransientError: Redis is away.
    """
    try:
        keys = sorted(set(client.scan_iter(match=f"image:{image_id}:*", count=10_000)))
        found = [_read(client, key) for key in keys]
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise TransientError(f"Redis did not answer: {error}") from error
    return [key for key in found if key is not None]


def _read(client: "Redis", key: str) -> RedisKey | None:
    kind = str(client.type(key))
    remaining = int(client.ttl(key))
    ttl = remaining if remaining >= 0 else None
    if kind == "zset":
        members = [*client.zrange(key, 0, 0), *client.zrange(key, -1, -1)]
        value = {"oldest": members[0], "newest": members[1]} if members else None
        return RedisKey(key, kind, int(client.zcard(key)), ttl, value)
    if kind == "hash":
        fields = {str(field): str(value) for field, value in client.hgetall(key).items()}
        return RedisKey(key, kind, len(fields), ttl, fields)
    if kind == "string":
        text = str(client.get(key) or "")
        return RedisKey(key, kind, len(text), ttl, text)
    if kind == "none":  # expired since the scan
        return None
    return RedisKey(key, kind, 0, ttl, None)


def memberships(client: "Redis", image_id: str, kind: str, member_prefix: str, id8: str) -> list[tuple[str, str, int]]:
    """Windows that hold an event: key, member, and seconds until the key expires.

    Args:
        client: the store of rolling windows.
        image_id: the event's image.
        kind: `views`, `comments` or `flags`.
        member_prefix: `view`, `comment` or `flag`.
        id8: first eight characters of the event's id.
    """
    found = []
    for width in ("1min", "5min", "1hr"):
        key = f"image:{image_id}:{kind}:{width}"
        for member, _score in client.zscan_iter(key, match=f"{member_prefix}:*:{id8}"):
            found.append((key, str(member), int(client.ttl(key))))
    return found
