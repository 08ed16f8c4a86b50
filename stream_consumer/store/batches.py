"""Batches in Redis: one call of apply.lua each, and the windows that it keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import orjson
from redis import Redis
from redis.connection import Connection
from redis.exceptions import NoScriptError, RedisError

from gourmetgram.redis_keys import longest_window, window_bounds
from gourmetgram.windows import WINDOW_US
from stream_consumer.batch import BatchCall, EventBatch, EventGroup
from stream_consumer.pending import PendingRequest
from stream_consumer.store.connection import redis_errors
from stream_consumer.store.milestones import Milestone
from stream_consumer.store.scripts import load_script


@dataclass(frozen=True, slots=True)
class AppliedBatch:
    """Changes that a batch made in Redis.

    Attributes:
        totals: total of each group's image and kind, in the order of `groups`.
        alerts: conditions that were met, in the order of their times.
        repeated: number of events that had been applied before, at other offsets.
        failures: image and error, where a key has a wrong type.
    """

    batch: EventBatch
    groups: list[EventGroup]
    totals: list[int]
    alerts: list[PendingRequest]
    milestones: list[Milestone]
    repeated: int
    failures: list[tuple[str, str]]


class GroupCounts(NamedTuple):
    """Counts of a group's image and kind as of its newest event, in each window."""

    in_1min: int
    in_5min: int
    in_1hr: int


class BatchStore:
    """Applies batches, one at a time. Between `send` and `receive`, Redis works while this process continues.

    Args:
        client: a client that does not decode answers.
        vocabulary: first argument of the scripts.
    """

    def __init__(self, client: Redis, vocabulary: bytes) -> None:
        self._client = client
        self._vocabulary = vocabulary
        self._apply = load_script(client, "batch", "apply")
        self._rebuild = load_script(client, "batch", "rebuild")
        self._trim = load_script(client, "trim")
        self._sent: tuple[BatchCall, Connection] | None = None

    @property
    def in_flight(self) -> bool:
        """True from `send` to `receive` or `abandon`."""
        return self._sent is not None

    def send(self, call: BatchCall) -> None:
        """Send a batch without waiting for the answer.

        Raises:
            RedisUnavailableError: Redis is away.
        """
        with redis_errors():
            connection = self._client.connection_pool.get_connection()
            try:
                connection.send_command("EVALSHA", self._apply.sha, 0, self._vocabulary, *call.arguments)  # type: ignore[no-untyped-call]
            except RedisError:
                self._drop(connection)
                raise
        self._sent = call, connection

    def receive(self) -> AppliedBatch | None:
        """Wait for the answer to the batch that was sent.

        Returns:
            Its changes. None when Redis has other offsets than the batch expects: then nothing has changed.

        Raises:
            RedisUnavailableError: no answer. The offsets in Redis show if the batch is applied.
        """
        if self._sent is None:
            raise RuntimeError("no batch is in flight")
        (sent, connection), self._sent = self._sent, None
        call, answer = sent, self._answer(sent, connection)
        while answer[0] == b"seen":
            # Rare, and for few events: only a crash of the relay publishes events again at other offsets.
            call = call.without({int(place) for place in answer[1:]})
            answer = self._run(call)
        if answer[0] == b"moved":
            return None
        return _applied(sent.batch, call, answer, repeated=len(sent.events) - len(call.events))

    def abandon(self) -> None:
        """Give up the answer to the batch that was sent, if there is one."""
        if self._sent is not None:
            (_, connection), self._sent = self._sent, None
            self._drop(connection)

    def window_counts(self, groups: Sequence[EventGroup]) -> list[GroupCounts]:
        """Count each group's image and kind in every window, as of the group's newest event.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            for group in groups:
                key = longest_window(group.image_id, group.kind)
                for width_us in WINDOW_US.values():
                    pipeline.zcount(key, *window_bounds(group.newest_us, width_us))
            counts = pipeline.execute()
        size = len(WINDOW_US)
        return [GroupCounts(*counts[at : at + size]) for at in range(0, len(counts), size)]

    def rebuild(self, call: BatchCall) -> bool:
        """Add events to the longest windows again, which lost them; totals, alerts, requests and offsets stay.

        Returns:
            False when Redis has other offsets than the call expects: then nothing has changed.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            return bool(self._rebuild(args=[self._vocabulary, *call.arguments]))

    def trim(self, images: Sequence[str]) -> None:
        """Trim the 1hr sets of images to the members that pending requests may still need.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            self._trim(args=[self._vocabulary, *images])

    def _answer(self, call: BatchCall, connection: Connection) -> list[Any]:
        with redis_errors():
            try:
                return cast(list[Any], connection.read_response())
            except NoScriptError:
                # Redis was restarted: the script is loaded again, and the call repeated.
                return self._run(call)
            except RedisError:
                connection.disconnect()  # type: ignore[no-untyped-call]
                raise
            finally:
                self._client.connection_pool.release(connection)

    def _run(self, call: BatchCall) -> list[Any]:
        with redis_errors():
            return cast(list[Any], self._apply(args=[self._vocabulary, *call.arguments]))

    def _drop(self, connection: Connection) -> None:
        """Close a connection: the next caller must not get an unread answer."""
        connection.disconnect()  # type: ignore[no-untyped-call]
        self._client.connection_pool.release(connection)


def _applied(batch: EventBatch, call: BatchCall, answer: list[Any], repeated: int) -> AppliedBatch:
    # cjson encodes an empty table as an object.
    alerts, milestones, failures = (orjson.loads(part) or [] for part in answer[2:5])
    return AppliedBatch(
        batch=batch,
        groups=call.groups,
        totals=answer[1],
        alerts=sorted((PendingRequest.from_json(alert) for alert in alerts), key=lambda alert: alert.time_us),
        milestones=[Milestone(image_id, int(value)) for image_id, value in milestones],
        repeated=repeated,
        failures=[(image_id, error) for image_id, error in failures],
    )
