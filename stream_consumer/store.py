"""The consumer's state in Redis: windows, totals, alerts, offsets, requests. Every change is one script call.

The offsets stand beside the state they belong to and move in the same call, so both are always of one age, whatever
happens to this process or to Redis. Kafka's committed offsets only mirror them.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import orjson
import redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from gourmetgram.errors import TransientError
from gourmetgram.moments import HOUR_US, SECOND_US
from gourmetgram.settings import RedisSettings
from stream_consumer.batch import Accepted, Call, Group, build_call, unix_text
from stream_consumer.partitions import TopicPartition, field_of
from stream_consumer.pending import Pending
from stream_consumer.settings import ConsumerSettings

log = logging.getLogger(__name__)

OFFSETS: Final = "consumer:offsets"
ORIGINS: Final = "consumer:origins"
"""Hash: <topic>/<partition> -> which topic the offset counts in; a topic made anew starts again at 0."""
MILESTONES: Final = "consumer:milestones"
MILESTONE_VALUES: Final = (10, 100, 1000)
COOL_DOWN_US: Final = HOUR_US

_DAY_S: Final = 86_400
_WINDOW_TTL_S: Final = {"1min": 60, "5min": 300, "1hr": 7200}
_IDLE_TTL_S: Final = 7 * _DAY_S
# Longer than the cool-down, which runs in event time: a consumer that was stopped for days still knows its alerts.
_ALERT_TTL_S: Final = 7 * _DAY_S
# As long as Kafka keeps the events that could raise it again.
_ONCE_TTL_S: Final = 30 * _DAY_S
_DUE_ANCHORS_AT_ONCE: Final = 1000
_LIST_ENTRIES: Final = 16


class Milestone(NamedTuple):
    """An image whose total of views reached a round number."""

    image_id: str
    value: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch changed.

    Attributes:
        totals: total of each group's image and kind, in the order of `groups`.
        alerts: conditions that were met, in the order of their times; those of `popular` ask for no request.
        repeated: events that had been applied before, at other offsets.
        failures: image and error, where a key has a wrong type.
    """

    groups: list[Group]
    totals: list[int]
    alerts: list[Pending]
    milestones: list[Milestone]
    repeated: int
    failures: list[tuple[str, str]]


class Prepared(NamedTuple):
    """A batch in the form of a call.

    Attributes:
        call: what the script is told about this batch.
        arguments: the same as Redis takes it.
        positions: per partition of the batch, the offset applied before it and the one after it.
        floors: per partition number, the earliest time for which events that have not been read may still ask.
    """

    call: Call
    arguments: list[bytes | str]
    positions: Mapping[TopicPartition, tuple[int, int]]
    floors: Mapping[int, int]


class Applying(NamedTuple):
    """A batch that Redis works on, and the connection on which the answer comes."""

    prepared: Prepared
    connection: Connection


class FrozenAnswer(NamedTuple):
    """What became of a request that was to be completed: its context, or the news that it was confirmed already."""

    context: dict[str, Any] | None
    gone: bool


class WindowCounts(NamedTuple):
    """Counts of an image and kind as of its newest event."""

    in_1min: int
    in_5min: int
    in_1hr: int


def connect(settings: RedisSettings) -> redis.Redis:
    """A client that fails fast: the loop that calls it knows how to wait."""
    return redis.Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        socket_connect_timeout=1.0,
        socket_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
    )


class RedisUnavailableError(TransientError):
    """Redis is away, too slow, or refuses."""


@contextmanager
def _transient() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise RedisUnavailableError(f"Redis: {error}") from error


class WindowStore:
    """All that the consumer reads and writes in Redis.

    Args:
        client: without decoding of answers.
        settings: thresholds and switches.
    """

    def __init__(self, client: redis.Redis, settings: ConsumerSettings) -> None:
        self._client = client
        self._rules = _rules(settings)
        folder = Path(__file__).parent
        common = (folder / "common.lua").read_text()
        self._apply = client.register_script(common + (folder / "apply.lua").read_text())
        self._trim = client.register_script(common + (folder / "trim.lua").read_text())
        self._freeze = client.register_script(common + (folder / "freeze.lua").read_text())

    # --- batches ---------------------------------------------------------------------------------------------------

    def prepare(
        self,
        accepted: Sequence[Accepted],
        positions: Mapping[TopicPartition, tuple[int, int]],
        floors: Mapping[int, int],
    ) -> Prepared:
        """Put a batch into the form of a call, without Redis, which may be at work on the one before.

        Args:
            accepted: eligible events in the order of arrival, each event_id once.
            positions: see `Prepared`.
            floors: see `Prepared`.
        """
        call = build_call(accepted, positions, floors)
        return Prepared(call, self._arguments(call), positions, floors)

    def begin(self, prepared: Prepared) -> Applying:
        """Send a batch to Redis without waiting for the answer, which `finish` reads.

        Raises:
            RedisUnavailableError: Redis is away.
        """
        with _transient():
            connection = self._client.connection_pool.get_connection()
            try:
                connection.send_command("EVALSHA", self._apply.sha, 0, *prepared.arguments)  # type: ignore[no-untyped-call]
            except RedisError:
                self._give_back(connection)
                raise
        return Applying(prepared, connection)

    def finish(self, applying: Applying) -> Applied | None:
        """Read Redis's answer to a batch.

        Returns:
            What changed, or None when Redis stands at other offsets: then nothing has changed.

        Raises:
            RedisUnavailableError: no answer; the batch is applied or not, as its offsets will tell.
        """
        prepared = applying.prepared
        with _transient():
            try:
                answer = cast(list[Any], applying.connection.read_response())
            except NoScriptError:
                answer = self._call_apply(prepared.arguments)
            except RedisError:
                applying.connection.disconnect()  # type: ignore[no-untyped-call]
                raise
            finally:
                self._client.connection_pool.release(applying.connection)
        call = prepared.call
        while answer[0] == b"seen":
            known = set(answer[1:])
            # What is left is small work, and the exception: events come again after a crash of the relay only.
            new = [item for place, item in enumerate(call.events, 1) if place not in known]
            call = build_call(new, prepared.positions, prepared.floors)
            with _transient():
                answer = self._call_apply(self._arguments(call))
        if answer[0] == b"moved":
            return None
        return _applied(call, answer, repeated=len(prepared.call.events) - len(call.events))

    def abandon(self, applying: Applying) -> None:
        """Forget about a batch's answer."""
        self._give_back(applying.connection)

    def _give_back(self, connection: Connection) -> None:
        """An answer that nobody read must not be the next caller's."""
        connection.disconnect()  # type: ignore[no-untyped-call]
        self._client.connection_pool.release(connection)

    def _call_apply(self, arguments: list[bytes | str]) -> list[Any]:
        return cast(list[Any], self._apply(args=arguments))

    def _arguments(self, call: Call) -> list[bytes | str]:
        return [orjson.dumps({**self._rules, **call.header}), *call.ids, *call.members]

    def ping(self) -> None:
        """Ask whether Redis is there.

        Raises:
            RedisUnavailableError: it is not.
        """
        with _transient():
            self._client.ping()

    def tune(self) -> None:
        """Let Redis keep sorted sets of more than a few members as skip lists.

        Up to 128 members it would keep them as plain lists, which are read from end to end for each member that is
        added: measured, that is four fifths of the work of a batch of views over 1,000 images. A server that does not
        let clients change its settings works as well, only slower.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with _transient():
            try:
                self._client.config_set("zset-max-ziplist-entries", _LIST_ENTRIES)
            except ResponseError as error:
                log.info("Redis keeps its own zset-max-ziplist-entries: %s", error)

    # --- offsets ---------------------------------------------------------------------------------------------------

    def offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The next offset to apply of each partition; None where nothing is known.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        return {partition: _number(value) for partition, value in self._read(OFFSETS, partitions).items()}

    def origins(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, str | None]:
        """The topic that each partition's offset counts in.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        values = self._read(ORIGINS, partitions)
        return {partition: None if value is None else value.decode() for partition, value in values.items()}

    def start(self, offsets: Mapping[TopicPartition, int], origins: Mapping[TopicPartition, str]) -> None:
        """Write where partitions begin that Redis knows nothing about, or knows from a topic that is gone.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with _transient():
            pipeline = self._client.pipeline(transaction=True)
            for name, values in ((OFFSETS, offsets), (ORIGINS, origins)):
                if values:
                    pipeline.hset(name, mapping={field_of(partition): value for partition, value in values.items()})
            pipeline.execute()

    def _read(self, name: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, bytes | None]:
        if not partitions:
            return {}
        with _transient():
            values = cast(
                list[bytes | None], self._client.hmget(name, [field_of(partition) for partition in partitions])
            )
        return dict(zip(partitions, values, strict=True))

    # --- requests --------------------------------------------------------------------------------------------------

    def pending(self, numbers: Iterable[int]) -> list[Pending]:
        """The requests of these partition numbers that the broker has not confirmed.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        found = []
        with _transient():
            for number in numbers:
                values = cast(dict[bytes, bytes], self._client.hgetall(_pending_key(number)))
                found += [Pending.from_json(value) for value in values.values()]
        return found

    def due_anchors(self, numbers: Sequence[int], now_us: int) -> list[Pending]:
        """Anchors whose time has come, the oldest of each partition number first, not all at once.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with _transient():
            pipeline = self._client.pipeline(transaction=False)
            for number in numbers:
                pipeline.zrangebyscore(
                    f"consumer:anchors:{number}",
                    "-inf",
                    unix_text(now_us),
                    start=0,
                    num=_DUE_ANCHORS_AT_ONCE,
                    withscores=True,
                )
            answers = pipeline.execute()
        return [
            Pending.anchor(identity.decode(), round(float(score) * SECOND_US), number)
            for number, members in zip(numbers, answers, strict=True)
            for identity, score in members
        ]

    def freeze(self, requests: Sequence[Pending], topics: Mapping[int, Sequence[TopicPartition]]) -> list[FrozenAnswer]:
        """Fix the contexts of requests whose targets are reached.

        Args:
            requests: each with its targets.
            topics: per partition number, the co-partitions that `read_to` names.

        Raises:
            RedisUnavailableError: Redis did not answer; a context that was fixed stays so.
        """
        items = [_freeze_item(request, topics[request.partition]) for request in requests]
        with _transient():
            answers = cast(list[bytes], self._freeze(args=[orjson.dumps(items)]))
        return [
            FrozenAnswer(None, gone=answer == b"gone")
            if answer in (b"gone", b"wait")
            else FrozenAnswer(Pending.from_json(answer).context, gone=False)
            for answer in answers
        ]

    def trim(self, images: Sequence[str]) -> None:
        """Trim the hour's windows of images to what requests may still need.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with _transient():
            self._trim(args=images)

    def confirm(self, requests: Iterable[Pending]) -> None:
        """Forget requests that the broker has.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with _transient():
            pipeline = self._client.pipeline(transaction=False)
            for request in requests:
                pipeline.hdel(_pending_key(request.partition), request.identity)
            pipeline.execute()

    # --- milestones and progress -----------------------------------------------------------------------------------

    def milestones(self, at_most: int) -> dict[Milestone, int]:
        """Milestones that PostgreSQL does not have yet, and when they were reached (microseconds).

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        found: dict[Milestone, int] = {}
        with _transient():
            for name, score in self._client.hscan_iter(MILESTONES, count=at_most):
                image_id, value = name.decode().split("/")
                found[Milestone(image_id, int(value))] = round(float(score) * SECOND_US)
                if len(found) >= at_most:
                    break
        return found

    def forget_milestones(self, milestones: Iterable[Milestone]) -> None:
        """Forget milestones that PostgreSQL has or will never take.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with _transient():
            self._client.hdel(MILESTONES, *(f"{milestone.image_id}/{milestone.value}" for milestone in milestones))

    def window_counts(self, groups: Sequence[Group]) -> list[WindowCounts]:
        """Counts of each group's image and kind as of the group's newest event.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with _transient():
            pipeline = self._client.pipeline(transaction=False)
            for group in groups:
                for seconds in (60, 300, 3600):
                    low = unix_text(group.newest_us - seconds * SECOND_US)
                    key = f"image:{group.image_id}:{group.kind}:1hr"
                    pipeline.zcount(key, f"({low}", unix_text(group.newest_us))
            counts = pipeline.execute()
        return [WindowCounts(*counts[at : at + 3]) for at in range(0, len(counts), 3)]


def _rules(settings: ConsumerSettings) -> dict[str, Any]:
    """The part of the scripts' header that does not change."""

    def rule(trigger: str, window_s: int, threshold: int, request: bool) -> dict[str, Any]:
        return {"trigger": trigger, "window_us": window_s * SECOND_US, "threshold": threshold, "request": request}

    return {
        "seen_ttl": settings.consumer_dedup_hours * 3600,
        "cool_down_us": COOL_DOWN_US,
        "alert_ttl": _ALERT_TTL_S,
        "once_ttl": _ONCE_TTL_S,
        "idle_ttl": _IDLE_TTL_S,
        "ttl": _WINDOW_TTL_S,
        "milestones": MILESTONE_VALUES,
        "conditions": {
            "views": [
                rule("viral", 300, settings.viral_threshold_views_5min, request=True),
                rule("popular", 3600, settings.popular_threshold_views_1hr, request=False),
            ],
            "comments": [rule("suspicious", 60, settings.suspicious_threshold_comments_1min, request=True)],
            "flags": [rule("flagged", 300, settings.flagged_threshold_flags_5min, request=True)],
        },
        "trigger_on_upload": settings.trigger_on_upload,
        "anchor_minutes": sorted(set(settings.rescore_at_minutes)),
    }


def _applied(call: Call, answer: list[Any], repeated: int) -> Applied:
    # An empty table of Lua is an empty object in JSON.
    alerts, milestones, failures = (orjson.loads(part) or [] for part in answer[2:5])
    return Applied(
        groups=call.groups,
        totals=answer[1],
        alerts=sorted((Pending.from_json(alert) for alert in alerts), key=lambda alert: alert.time_us),
        milestones=[Milestone(image_id, int(value)) for image_id, value in milestones],
        repeated=repeated,
        failures=[(image_id, error) for image_id, error in failures],
    )


def _freeze_item(request: Pending, topics: Sequence[TopicPartition]) -> dict[str, Any]:
    item: dict[str, Any] = {
        "identity": request.identity,
        "partition": request.partition,
        "image": request.image_id,
        "time_us": str(request.time_us),
        "required": [[field_of(partition), offset] for partition, offset in (request.targets or {}).items()],
        "topics": [[partition[0], field_of(partition)] for partition in topics],
    }
    if request.source is not None:
        (topic, _), offset = request.source
        item["source"] = [topic, offset + 1]
    return item


def _pending_key(number: int) -> str:
    return f"consumer:pending:{number}"


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(value)
