"""Moderation requests: from the condition that was met to the broker's confirmation.

A request passes these stages, and Redis keeps it through all of them. After a crash at any point the same id and
content are sent again at worst.

1. Raised: apply.lua has stored it, or its anchor is due.
2. Targets: the offsets up to which its co-partitions must be applied, so that its counts are complete.
3. Frozen: the targets are reached, and freeze.lua has fixed its context.
4. In flight: published, and not confirmed yet.
5. Confirmed: the broker has it, and Redis deletes it.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from confluent_kafka import KafkaError, Message

from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.publish import Answered, OutgoingMessage, Publishable
from gourmetgram.moments import SECOND_US, now_us
from stream_consumer import metrics
from stream_consumer.pending import PendingRequest
from stream_consumer.progress import StreamProgress
from stream_consumer.store.requests import FrozenContext

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
# A long backlog raises thousands of requests, and one Redis call must stay short.
_FREEZE_AT_ONCE: Final = 500
_SAME_TIME_US: Final = 10 * SECOND_US


class RequestKeeper(Protocol):
    """Keeps requests across crashes; see `RequestStore`."""

    def pending(self, numbers: Iterable[int]) -> list[PendingRequest]:
        """Requests that the broker has not confirmed."""

    def due_anchors(self, numbers: Sequence[int], now_us: int) -> list[PendingRequest]:
        """Anchors whose time has come."""

    def freeze(
        self, requests: Sequence[PendingRequest], topics: Mapping[int, Sequence[Partition]]
    ) -> list[FrozenContext]:
        """Fix the contexts of requests."""

    def confirm(self, requests: Iterable[PendingRequest]) -> None:
        """Delete requests that the broker has confirmed."""


class PartitionEnds(Protocol):
    """Ends of partitions; see `BrokerOffsets`."""

    def ends(self, of: Iterable[Partition]) -> dict[Partition, int]:
        """Next offset of partitions, by a request to the broker."""


class RequestPublisher(Protocol):
    """Publishes; see `gourmetgram.kafka.publish.Publisher`."""

    def send(self, message: Publishable, answered: Answered) -> None:
        """Queue one message."""

    def serve(self) -> None:
        """Deliver answers that have arrived."""

    def flush(self, timeout_s: float) -> None:
        """Wait for the answers to all that was sent."""


class WindowKeeper(Protocol):
    """Trims windows when no unread event needs them; see `WindowRetention`."""

    def keep(self, number: int, image_id: str) -> None:
        """Record an image of a partition number whose windows are kept longer than their width."""


class RequestPipeline:
    """Moves the requests of the partitions that this process reads from stage to stage.

    Args:
        store: keeps the requests.
        ends: ends of the partitions.
        progress: positions of this process.
        publisher: publishes; its answers come in `advance`, `serve` and `settle`.
        topic: the moderation topic.
        windows: takes images whose windows a request no longer needs: its context is fixed.
        sent: called with each request that the broker has confirmed.
        clock: now in microseconds, which decides when anchors are due.
    """

    def __init__(
        self,
        store: RequestKeeper,
        ends: PartitionEnds,
        progress: StreamProgress,
        publisher: RequestPublisher,
        topic: str,
        windows: WindowKeeper,
        sent: Callable[[PendingRequest], None],
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._store = store
        self._ends = ends
        self._progress = progress
        self._publisher = publisher
        self._topic = topic
        self._windows = windows
        self._sent = sent
        self._clock = clock
        self._waiting: dict[str, PendingRequest] = {}
        self._in_flight: set[str] = set()
        self._confirmed: list[PendingRequest] = []
        self._published: set[str] = set()
        self._send_from = 0.0

    @property
    def active(self) -> bool:
        """True while a request is not confirmed."""
        return bool(self._waiting)

    def reload(self) -> list[PendingRequest]:
        """Take over the requests that Redis keeps for the assigned partitions.

        Returns:
            Those that were unknown here: raised by another process, or by a call whose answer was lost.

        Raises:
            TransientError: Redis did not answer.
        """
        known = self._waiting
        self._published = set()
        self._waiting = {request.identity: request for request in self._store.pending(self._numbers())}
        return [request for identity, request in self._waiting.items() if identity not in known]

    def drop(self) -> None:
        """Drop all requests in memory: the partitions are gone, and Redis keeps the requests."""
        self._waiting = {}
        self._published = set()

    def oldest_open_us(self) -> dict[int, int]:
        """Time of the oldest pending request of each partition number that has one."""
        oldest: dict[int, int] = {}
        for request in self._waiting.values():
            oldest[request.partition] = min(request.time_us, oldest.get(request.partition, request.time_us))
        return oldest

    def recognise(self, request_ids: Iterable[str]) -> None:
        """Take the ids of requests that the broker has already, until the next `reload`.

        A Redis that lost its latest writes raises them again. They count as confirmed: sent again, they would have
        another content, because more has been read by now.
        """
        self._published.update(request_ids)

    def add(self, raised: Iterable[PendingRequest]) -> None:
        """Take requests that a batch has just raised."""
        for request in raised:
            if request.source is not None:
                request.raised_at_us = self._progress.broker_time_us[request.source.partition]
            self._waiting[request.identity] = request

    def add_due_anchors(self) -> None:
        """Take anchors whose time has come.

        Raises:
            TransientError: Redis did not answer.
        """
        for anchor in self._store.due_anchors(self._numbers(), self._clock()):
            self._waiting.setdefault(anchor.identity, anchor)

    def first_unconfirmed(self) -> dict[Partition, int]:
        """Per partition, the first record whose request is not confirmed: no commit may pass it."""
        first: dict[Partition, int] = {}
        for request in self._waiting.values():
            if request.source is not None:
                partition, offset = request.source
                first[partition] = min(offset, first.get(partition, offset))
        return first

    def serve(self) -> None:
        """Take answers of the broker that have arrived."""
        self._publisher.serve()

    def advance(self) -> None:
        """Move every request as far as possible now.

        Raises:
            TransientError: Redis or the broker did not answer; nothing is lost.
        """
        if not self._waiting and not self._confirmed:
            return
        self._publisher.serve()
        self._forget_confirmed()
        self._find_targets([request for request in self._waiting.values() if request.targets is None])
        ready = [request for request in self._waiting.values() if request.context is None and self._is_applied(request)]
        for first in range(0, len(ready), _FREEZE_AT_ONCE):
            self._freeze(ready[first : first + _FREEZE_AT_ONCE])
        if time.monotonic() >= self._send_from:
            self._publish([request for request in self._waiting.values() if request.context is not None])
        metrics.REQUESTS_WAITING.set(len(self._waiting))

    def settle(self, timeout_s: float) -> None:
        """Wait for the answers to all published requests, and process them.

        Raises:
            TransientError: Redis did not answer.
        """
        if self._in_flight or self._confirmed:
            self._publisher.flush(timeout_s)
            self._forget_confirmed()

    def _numbers(self) -> list[int]:
        return sorted({partition.number for partition in self._progress.applied})

    def _find_targets(self, requests: list[PendingRequest]) -> None:
        """Set the targets: the end offset reported now, or the applied offset of a partition that is past t."""
        open_ones = {request.identity: set(self._not_past(request)) for request in requests}
        needed = set().union(*open_ones.values())
        ends = self._ends.ends(needed) if needed else {}
        for request in requests:
            request.targets = {
                partition: ends[partition]
                if partition in open_ones[request.identity]
                else self._progress.applied[partition]
                for partition in self._others(request)
            }

    def _others(self, request: PendingRequest) -> list[Partition]:
        """Co-partitions that must be complete: all but the trigger's own."""
        own = request.source.partition if request.source else None
        return [partition for partition in self._progress.co_partitions(request.partition) if partition != own]

    def _not_past(self, request: PendingRequest) -> list[Partition]:
        return [partition for partition in self._others(request) if not self._is_past(request, partition)]

    def _is_past(self, request: PendingRequest, partition: Partition) -> bool:
        """True when a partition is certainly applied past all records up to the request's t.

        The end offset, requested after the trigger was read, is the better target. This test keeps requests from
        waiting for the end of a long backlog. It allows for records that a producer sent at the same time in another
        order.
        """
        if request.raised_at_us is None:
            # Anchors wait for the end offset that was reported after the clock had passed t.
            return False
        surely_later_us = max(request.time_us, request.raised_at_us) + _SAME_TIME_US
        return self._progress.broker_time_us.get(partition, 0) > surely_later_us

    def _is_applied(self, request: PendingRequest) -> bool:
        """True when all targets are reached. A partition that is past t by now gets its applied offset as target."""
        targets = request.targets
        if targets is None:
            return False
        for partition, target in targets.items():
            applied = self._progress.applied.get(partition)
            if applied is None:
                return False
            if applied < target:
                if not self._is_past(request, partition):
                    return False
                targets[partition] = applied
        return True

    def _freeze(self, requests: list[PendingRequest]) -> None:
        topics = {request.partition: self._progress.co_partitions(request.partition) for request in requests}
        for request, answer in zip(requests, self._store.freeze(requests, topics), strict=True):
            if answer.gone:
                del self._waiting[request.identity]
            else:
                request.context = answer.context
                self._windows.keep(request.partition, request.image_id)

    def _publish(self, requests: list[PendingRequest]) -> None:
        # In the order of their causes, as far as they are ready together.
        for request in sorted(requests, key=lambda request: request.time_us):
            if request.identity in self._in_flight:
                continue
            if self._published and request.request_id in self._published:
                log.info("The broker has the request for %s already", request.identity)
                self._confirmed.append(request)
            else:
                self._send(request)

    def _send(self, request: PendingRequest) -> None:
        message = OutgoingMessage(self._topic, request.image_id, request.message())
        try:
            self._publisher.send(message, partial(self._answered, request))
        except TransientError as error:
            raise TransientError(f"the request for {request.identity} waits: {error}") from error
        self._in_flight.add(request.identity)

    def _answered(self, request: PendingRequest, error: KafkaError | None, _message: Message) -> None:
        self._in_flight.discard(request.identity)
        if error is None:
            self._confirmed.append(request)
            return
        log.warning("The broker did not take the request for %s: %s", request.identity, error.str())
        metrics.FAILURES.labels("publish").inc()
        self._send_from = time.monotonic() + _RETRY_S

    def _forget_confirmed(self) -> None:
        if not self._confirmed:
            return
        self._store.confirm(self._confirmed)
        for request in self._confirmed:
            self._waiting.pop(request.identity, None)
            metrics.REQUESTS.labels(request.trigger).inc()
            self._sent(request)
        self._confirmed.clear()
