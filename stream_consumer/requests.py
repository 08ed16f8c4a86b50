"""Requests to judge images: from the condition that was met to the broker's confirmation.

A request waits until every other topic of its partition has been read past its time, so that its counts are whole.
Then its context is fixed in Redis, it is published, and forgotten when the broker has it. All of this survives a
crash at any point; at worst a request is sent again, with the same id and content.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from gourmetgram.errors import TransientError
from gourmetgram.kafka.clients import MAKE_TOPICS
from stream_consumer import metrics
from stream_consumer.partitions import Progress, TopicPartition
from stream_consumer.pending import Pending
from stream_consumer.source import EventSource
from stream_consumer.store import WindowStore

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
# Contexts fixed in one Redis call: a long history raises thousands, and the call must stay short.
_FREEZE_AT_ONCE: Final = 500
_SAME_TIME_US: Final = 10_000_000

Clock = Callable[[], int]
"""Now, in microseconds since the epoch."""


def wall_clock() -> int:
    """Now, in microseconds since the epoch."""
    return time.time_ns() // 1000


class Requests:
    """The requests of the partitions that this process reads.

    Args:
        store: where requests are kept.
        source: tells where topics end.
        progress: what has been applied.
        producer: publishes; its answers come in `advance` and `settle`.
        topic: the moderation topic.
        sent: told each request that the broker has confirmed.
        clock: tells when anchors are due.
    """

    def __init__(
        self,
        store: WindowStore,
        source: EventSource,
        progress: Progress,
        producer: Producer,
        topic: str,
        sent: Callable[[Pending], None],
        clock: Clock = wall_clock,
    ) -> None:
        self._store = store
        self._source = source
        self._progress = progress
        self._producer = producer
        self._topic = topic
        self._sent = sent
        self._clock = clock
        self._waiting: dict[str, Pending] = {}
        self._in_flight: set[str] = set()
        self._delivered: list[Pending] = []
        self._send_from = 0.0

    # --- what there is ---------------------------------------------------------------------------------------------

    def reload(self) -> list[Pending]:
        """Take over what Redis knows of the partitions that are read now.

        Returns:
            Those that this process did not know: raised by another one, or by a call whose answer was lost.

        Raises:
            TransientError: Redis did not answer.
        """
        known = self._waiting
        self._waiting = {request.identity: request for request in self._store.pending(self._numbers())}
        return [request for identity, request in self._waiting.items() if identity not in known]

    def drop(self) -> None:
        """Forget everything in memory: the partitions are gone, and Redis knows."""
        self._waiting = {}

    def add(self, raised: Iterable[Pending]) -> None:
        """Take requests that a batch has just raised."""
        for request in raised:
            if request.source is not None:
                request.raised_at_us = self._progress.broker_time_us[request.source[0]]
            self._waiting[request.identity] = request

    def add_due_anchors(self) -> None:
        """Take anchors whose time has come.

        Raises:
            TransientError: Redis did not answer.
        """
        for anchor in self._store.due_anchors(self._numbers(), self._clock()):
            self._waiting.setdefault(anchor.identity, anchor)

    @property
    def active(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._waiting)

    def held_back(self) -> dict[TopicPartition, int]:
        """Per partition, the first record whose request the broker has not confirmed: no commit may pass it."""
        held: dict[TopicPartition, int] = {}
        for request in self._waiting.values():
            if request.source is not None:
                partition, offset = request.source
                held[partition] = min(offset, held.get(partition, offset))
        return held

    def _numbers(self) -> list[int]:
        return sorted({number for _, number in self._progress.applied})

    # --- what becomes of it ----------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Move every request as far as it can go now.

        Raises:
            TransientError: Redis or the broker did not answer; nothing is lost.
        """
        if not self._waiting and not self._delivered:
            return
        self._producer.poll(0)
        self._forget_delivered()
        self._find_targets([request for request in self._waiting.values() if request.targets is None])
        ready = [request for request in self._waiting.values() if request.context is None and self._is_read(request)]
        for first in range(0, len(ready), _FREEZE_AT_ONCE):
            self._freeze(ready[first : first + _FREEZE_AT_ONCE])
        if time.monotonic() >= self._send_from:
            ready = [request for request in self._waiting.values() if request.context is not None]
            # In the order of their causes, as far as they are ready together.
            for request in sorted(ready, key=lambda request: request.time_us):
                if request.identity not in self._in_flight:
                    self._publish(request)
        metrics.REQUESTS_WAITING.set(len(self._waiting))

    def settle(self, timeout_s: float) -> None:
        """Wait for the broker's answers to what was published, and note them.

        Raises:
            TransientError: Redis did not answer.
        """
        if self._in_flight or self._delivered:
            self._producer.flush(timeout_s)
            self._forget_delivered()

    def _find_targets(self, requests: list[Pending]) -> None:
        """Decide up to where the co-partitions must be read: to the end that the broker reports now, or past t."""
        asked: dict[TopicPartition, int] = {}
        needed = {partition for request in requests for partition in self._not_past(request)}
        if needed:
            asked = self._source.ends(needed)
        for request in requests:
            open_ones = set(self._not_past(request))
            request.targets = {
                partition: asked[partition] if partition in open_ones else self._progress.applied[partition]
                for partition in self._others(request)
            }

    def _others(self, request: Pending) -> list[TopicPartition]:
        """The co-partitions that must be complete: all but the trigger's own."""
        own = request.source[0] if request.source else None
        return [partition for partition in self._progress.co_partitions(request.partition) if partition != own]

    def _not_past(self, request: Pending) -> list[TopicPartition]:
        return [partition for partition in self._others(request) if not self._is_past(request, partition)]

    def _is_past(self, request: Pending, partition: TopicPartition) -> bool:
        """Whether a partition has certainly been read past what belongs to a request.

        Its end, asked for after the trigger was read, is the better mark. This one keeps requests from waiting for the
        end of a long history. It leaves room for what a producer sent at the same time in another order.
        """
        if request.raised_at_us is None:
            # Anchors wait for the end that was reported after the clock had passed t.
            return False
        surely_later_us = max(request.time_us, request.raised_at_us) + _SAME_TIME_US
        return self._progress.broker_time_us.get(partition, 0) > surely_later_us

    def _is_read(self, request: Pending) -> bool:
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

    def _freeze(self, requests: list[Pending]) -> None:
        topics = {request.partition: self._progress.co_partitions(request.partition) for request in requests}
        for request, answer in zip(requests, self._store.freeze(requests, topics), strict=True):
            if answer.gone:
                del self._waiting[request.identity]
            else:
                request.context = answer.context

    def _publish(self, request: Pending) -> None:
        def answered(error: KafkaError | None, _message: Message) -> None:
            self._in_flight.discard(request.identity)
            if error is None:
                self._delivered.append(request)
                return
            log.warning("The broker did not take the request for %s: %s", request.identity, error.str())
            metrics.FAILURES.labels("publish").inc()
            self._send_from = time.monotonic() + _RETRY_S

        try:
            self._producer.produce(self._topic, key=request.image_id, value=request.message(), on_delivery=answered)
        except BufferError as error:
            raise TransientError(f"the producer's queue is full: {error}") from error
        except KafkaException as error:
            raise TransientError(
                f"the request for {request.identity} waits, because topic {self._topic} does not take it: {error}. "
                f"When the topic is missing, make it again with {MAKE_TOPICS}"
            ) from error
        self._in_flight.add(request.identity)

    def _forget_delivered(self) -> None:
        if not self._delivered:
            return
        self._store.confirm(self._delivered)
        for request in self._delivered:
            self._waiting.pop(request.identity, None)
            metrics.REQUESTS.labels(request.trigger).inc()
            self._sent(request)
        self._delivered.clear()
