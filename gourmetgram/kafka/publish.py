"""Publishing: a message counts as published once the broker has confirmed it."""

import math
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from gourmetgram.errors import TransientError
from gourmetgram.kafka.clients import MAKE_TOPICS

_POLL_S: Final = 0.05
"""Interval at which a wait checks `abandon`, seconds."""

_DROPPED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
"""Errors of messages that this process itself has purged."""


class Publishable(Protocol):
    """A message to publish."""

    @property
    def topic(self) -> str:
        """Topic to publish to."""

    @property
    def key(self) -> str | None:
        """Key that chooses the partition; None for any partition."""

    @property
    def value(self) -> bytes:
        """Content."""


class OutgoingMessage(NamedTuple):
    """A message to publish."""

    topic: str
    key: str | None
    value: bytes


_M = TypeVar("_M", bound=Publishable)

Answered: TypeAlias = Callable[[KafkaError | None, Message], None]
"""Called with the answer of the broker, None or an error, from within a method of the publisher."""


class Published(NamedTuple, Generic[_M]):
    """Outcome of one `publish`.

    Attributes:
        confirmed: messages that the broker has stored.
        failures: topics that refused a message, each with its first error.
        unconfirmed: number of all other messages. The broker may have stored some of them.
    """

    confirmed: list[_M]
    failures: dict[str, KafkaError]
    unconfirmed: int


class Publisher:
    """Publishes messages over one producer, and replaces the producer after a failure.

    A new producer begins a new session, without the state of any failure. It also finds a topic that was deleted and
    created again. Call `publish`, `send`, `serve` and `flush` from one thread at a time. `producer` and `discard` may
    be called from another thread meanwhile.

    Args:
        create: creates a producer (see `create_producer`); called on first use and after each failure.
    """

    def __init__(self, create: Callable[[], Producer]) -> None:
        self._create = create
        self._current: Producer | None = None
        self._lock = threading.Lock()

    @property
    def producer(self) -> Producer:
        """Producer in use; created if there is none."""
        with self._lock:
            if self._current is None:
                self._current = self._create()
            return self._current

    def publish(
        self, messages: Iterable[_M], timeout_s: float = math.inf, abandon: threading.Event | None = None
    ) -> Published[_M]:
        """Publish messages in their order and wait for the broker. The failure of one topic does not stop the others.

        Args:
            messages: no message overtakes an earlier one of its topic: after a failure the rest of that topic stays.
            timeout_s: longest wait for the answers, seconds.
            abandon: ends the wait when it is set.

        Returns:
            The outcome. Publish the unconfirmed messages again, in order.
        """
        producer = self.producer
        delivery: _Delivery[_M] = _Delivery(producer, time.monotonic() + timeout_s, abandon)
        try:
            for message in messages:
                delivery.queue(message)
            delivery.wait()
        except Exception:
            # The fault of this producer may be permanent.
            self.discard(producer)
            raise
        if delivery.unconfirmed:
            # Purging also delivers the last answers.
            self.discard(producer)
        return delivery.outcome()

    def send(self, message: Publishable, answered: Answered) -> None:
        """Queue one message and return at once. `serve` and `flush` deliver the answer.

        Raises:
            TransientError: the queue is full, or the topic refuses the message. `answered` is not called.
        """
        try:
            _produce(self.producer, message, answered)
        except BufferError as error:
            raise TransientError(f"the producer's queue is full: {error}") from error
        except KafkaException as error:
            raise TransientError(
                f"topic {message.topic} refuses the message: {error}. "
                f"If the topic is missing, create it with {MAKE_TOPICS}"
            ) from error

    def serve(self) -> None:
        """Deliver answers that have arrived, and the statistics of the producer."""
        self.producer.poll(0)

    def flush(self, timeout_s: float) -> None:
        """Wait for the answers to all messages, at most `timeout_s` seconds."""
        self.producer.flush(timeout_s)

    def discard(self, producer: Producer) -> None:
        """Purge a producer and its messages; their answers are errors. The broker may still store those in flight."""
        producer.purge(in_queue=True, in_flight=True, blocking=False)
        producer.poll(0)
        with self._lock:
            if self._current is producer:
                self._current = None

    def close(self) -> None:
        """Drop the producer, if there is one."""
        if self._current is not None:
            self.discard(self._current)


class _Delivery(Generic[_M]):
    """In-flight messages of one `publish`."""

    def __init__(self, producer: Producer, deadline: float, abandon: threading.Event | None) -> None:
        self._producer = producer
        self._deadline = deadline
        self._abandon = abandon
        self._confirmed: list[_M] = []
        self._failures: dict[str, KafkaError] = {}
        self._total = self._open = 0

    def queue(self, message: _M) -> None:
        """Queue a message; when the producer's queue is full, wait for answers."""
        self._total += 1
        while message.topic not in self._failures:
            try:
                _produce(self._producer, message, partial(self._answer, message))
            except BufferError:
                if (patience_s := self._patience_s()) <= 0:
                    return
                self._producer.poll(patience_s)
            except KafkaException as error:
                self._failures[message.topic] = error.args[0]
            else:
                self._open += 1
                return

    def wait(self) -> None:
        """Wait for the answers to all queued messages."""
        while self._open and (patience_s := self._patience_s()) > 0:
            self._producer.poll(patience_s)

    @property
    def unconfirmed(self) -> int:
        """Number of messages without a confirmation so far."""
        return self._total - len(self._confirmed)

    def outcome(self) -> Published[_M]:
        """Outcome so far."""
        return Published(self._confirmed, self._failures, self.unconfirmed)

    def _patience_s(self) -> float:
        if self._abandon is not None and self._abandon.is_set():
            return 0.0
        return min(_POLL_S, self._deadline - time.monotonic())

    def _answer(self, message: _M, error: KafkaError | None, _delivered: Message) -> None:
        self._open -= 1
        if error is None:
            self._confirmed.append(message)
        elif error.code() not in _DROPPED:
            self._failures.setdefault(message.topic, error)


def _produce(producer: Producer, message: Publishable, answered: Answered) -> None:
    producer.produce(message.topic, key=message.key, value=message.value, on_delivery=answered)
