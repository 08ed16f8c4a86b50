"""Redis's part: keys of erased images, and what the stream consumer still plans for them."""

from collections.abc import Iterator
from typing import Any, Final

from redis import Redis
from redis.exceptions import ResponseError

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.erasure import ErasedIds
from gourmetgram.redis_keys import ANCHORS, IMAGE_KEYS, MILESTONES, PENDING, WAITING
from gourmetgram.settings import RedisSettings
from gourmetgram.waiting import wait_for
from gourmetgram_tools.inspection.redis_state import connected

_SCAN: Final = 10_000
_REWRITE_DEADLINE_S: Final = 120.0


def remove_keys(settings: RedisSettings, ids: ErasedIds) -> int:
    """Remove all keys of erased images, and their requests, anchors and milestones that wait.

    Returns:
        Number of removed keys.

    Raises:
        TransientError: Redis is away.
    """
    with connected(settings) as servers:
        return sum(_remove(client, ids) for client in servers.clients)


def _remove(client: Redis, ids: ErasedIds) -> int:
    # Plans first: a plan that is carried out in between finds no counts, but a count could not bring a plan back.
    for key, member in _planned(client, ids):
        client.zrem(key, member) if client.type(key) == "zset" else client.hdel(key, member)
    keys = list(_image_keys(client, ids))
    if keys:
        client.unlink(*keys)
    return len(keys)


def rewrite_files(settings: RedisSettings) -> None:
    """Let Redis write its files anew: its log still contains the removed keys, and so may its last dump.

    Raises:
        TransientError: Redis is away, or needs longer than two minutes.
    """
    with connected(settings) as servers:
        for client in servers.clients:
            _rewrite(client)


def _rewrite(client: Redis) -> None:
    for start, running in ((client.bgrewriteaof, "aof_rewrite"), (client.bgsave, "rdb_bgsave")):
        _wait_until_idle(client)
        try:
            start()
        except ResponseError as error:
            raise TransientError(f"Redis did not begin to write its files anew ({running}): {error}") from error
        _wait_until_idle(client)


def remaining_keys(settings: RedisSettings, ids: ErasedIds) -> list[str]:
    """Keys and members that name an erased id, and hashes that hold one.

    Raises:
        TransientError: Redis is away.
    """
    with connected(settings) as servers:
        return [found for client in servers.clients for found in _remaining(client, ids)]


def _remaining(client: Redis, ids: ErasedIds) -> list[str]:
    found = [f"Redis key {key}" for key in _image_keys(client, ids)]
    found += [f"Redis key {key}, member {member}" for key, member in _planned(client, ids)]
    for key in client.scan_iter(match=IMAGE_KEYS, count=_SCAN, _type="hash"):
        if ids.all.intersection(client.hvals(key)):
            found.append(f"Redis hash {key}")
    return found


def _image_keys(client: Redis, ids: ErasedIds) -> Iterator[str]:
    for key in set(client.scan_iter(match=IMAGE_KEYS, count=_SCAN)):
        if str(key).split(":")[1] in ids.images:
            yield str(key)


def _planned(client: Redis, ids: ErasedIds) -> list[tuple[str, str]]:
    """Keys and members of requests, anchors and milestones whose image is erased: `<image>/<...>`."""
    patterns = (PENDING % "*", ANCHORS % "*", WAITING, MILESTONES)
    keys = {str(key) for pattern in patterns for key in client.scan_iter(match=pattern, count=_SCAN)}
    return [
        (key, member) for key in sorted(keys) for member in _members(client, key) if _image_of(member) in ids.images
    ]


def _members(client: Redis, key: str) -> list[str]:
    found: Any = client.zrange(key, 0, -1) if client.type(key) == "zset" else client.hkeys(key)
    return [str(member) for member in found]


def _image_of(member: str) -> str:
    return member.partition("/")[0]


def _wait_until_idle(client: Redis) -> None:
    def busy() -> bool:
        state: Any = client.info("persistence")
        names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
        return any(state.get(name) for name in names)

    wait_for(
        busy,
        done=lambda answer: not answer,
        deadline_s=_REWRITE_DEADLINE_S,
        every_s=0.1,
        late=lambda _answer: TransientError("Redis did not write its files anew in time: run the command again."),
    )
