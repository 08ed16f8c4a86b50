"""What Redis holds of the images: totals, windows, alerts, metadata."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gourmetgram.errors import TransientError
from gourmetgram.settings import RedisSettings

_KEY: Final = re.compile(
    r"image:(?P<image>[0-9a-f-]{36}):(?:(?P<kind>views|comments|flags):(?P<window>1min|5min|1hr)"
    r"|total_(?P<total>views|comments|flags)|alert:(?P<alert>\w+)|(?P<metadata>metadata))"
)
_BATCH: Final = 1000

Members = dict[str, int]
"""Members of a window and their scores in microseconds."""


class Window(NamedTuple):
    """Which window: of an image, `views`, `comments` or `flags`, and `1min`, `5min` or `1hr`."""

    image_id: str
    kind: str
    width: str


@dataclass
class RedisState:
    """All keys of images.

    Attributes:
        totals: by image and `views`, `comments` or `flags`.
        windows: members of each sorted set.
        alerts: t of the last alert in microseconds, by image and trigger.
        metadata: the hash of each image.
        unreadable: keys whose type or content is not what it should be.
    """

    totals: dict[tuple[str, str], int] = field(default_factory=dict)
    windows: dict[Window, Members] = field(default_factory=dict)
    alerts: dict[tuple[str, str], int] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


def connect(settings: RedisSettings) -> "Redis":
    """A client that waits at most ten seconds for an answer."""
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
    )


def read_redis(client: "Redis") -> RedisState:
    """Read all keys of images, a thousand a round trip.

    Raises:
        TransientError: Redis is away.
    """
    state = RedisState()
    try:
        keys = client.scan_iter(match="image:*", count=_BATCH)
        while batch := list(islice(_known(keys), _BATCH)):
            for (key, match), value in zip(batch, _values(client, batch), strict=True):
                _take(state, key, match, value)
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise TransientError(f"Redis did not answer: {error}") from error
    return state


def microseconds(text_or_number: str | float) -> int:
    """Unix seconds, as Redis holds them, in whole microseconds."""
    return round(float(text_or_number) * 1_000_000)


def _known(keys: Iterator[str]) -> Iterator[tuple[str, re.Match[str]]]:
    seen: set[str] = set()  # SCAN may return a key twice
    for key in keys:
        match = _KEY.fullmatch(key)
        if match and key not in seen:
            seen.add(key)
            yield key, match


def _values(client: "Redis", batch: list[tuple[str, re.Match[str]]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for key, match in batch:
        if match["window"]:
            pipeline.zrange(key, 0, -1, withscores=True)
        elif match["metadata"]:
            pipeline.hgetall(key)
        else:
            pipeline.get(key)
    return pipeline.execute(raise_on_error=False)


def _take(state: RedisState, key: str, match: re.Match[str], value: Any) -> None:  # noqa: ANN401 - any reply
    # The same few texts in hundreds of thousands of keys: one object each.
    image_id = sys.intern(match["image"])
    if not value and value != "0":
        return  # expired between the scan and the reading
    try:
        if isinstance(value, Exception):
            raise ValueError(str(value))
        if match["window"]:
            window = Window(image_id, sys.intern(match["kind"]), sys.intern(match["window"]))
            state.windows[window] = {member: microseconds(score) for member, score in value}
        elif match["metadata"]:
            state.metadata[image_id] = {sys.intern(name): text for name, text in value.items()}
        elif match["total"]:
            state.totals[image_id, sys.intern(match["total"])] = int(value)
        else:
            state.alerts[image_id, match["alert"]] = microseconds(value)
    except (ValueError, OverflowError) as error:
        state.unreadable.append(f"{key}: {error}")
