"""A producer in memory, for tests of the publishing layer."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

Delivered = Callable[[KafkaError | None, Any], None]

REFUSED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
UNKNOWN = KafkaError(KafkaError._UNKNOWN_TOPIC)


class FakeProducer:
    """Answers all that is queued at each poll.

    Attributes:
        unknown: topics that are refused at once.
        refusing: topics whose messages the broker refuses later.
        away: while True, the broker answers nothing.
        capacity: length of the queue.
        stored: values that the broker has, in order.
    """

    def __init__(self) -> None:
        self.unknown: set[str] = set()
        self.refusing: set[str] = set()
        self.away = False
        self.capacity = 1_000
        self.stored: list[bytes] = []
        self.polls: list[float] = []
        self._queue: list[tuple[str, bytes, Delivered]] = []

    def produce(self, topic: str, key: str | None, value: bytes, on_delivery: Delivered) -> None:
        if topic in self.unknown:
            raise KafkaException(UNKNOWN)
        if len(self._queue) == self.capacity:
            raise BufferError("Local: Queue full")
        self._queue.append((topic, value, on_delivery))

    def poll(self, timeout_s: float) -> None:
        self.polls.append(timeout_s)
        if self.away:
            return
        queue, self._queue = self._queue, []
        for topic, value, answered in queue:
            if topic in self.refusing:
                answered(REFUSED, None)
            else:
                self.stored.append(value)
                answered(None, None)

    def flush(self, _timeout_s: float) -> None:
        self.poll(0)

    def purge(self, **_how: bool) -> None:
        queue, self._queue = self._queue, []
        for _, _, answered in queue:
            answered(KafkaError(KafkaError._PURGE_QUEUE), None)


class Producers:
    """Creates fake producers, and keeps them."""

    def __init__(self, *first: FakeProducer) -> None:
        self._prepared = list(first)
        self.made: list[FakeProducer] = []

    def __call__(self) -> Any:
        self.made.append(self._prepared.pop(0) if self._prepared else FakeProducer())
        return self.made[-1]
