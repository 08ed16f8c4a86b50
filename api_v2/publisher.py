"""Publishing to Kafka, with the broker's confirmation of every message."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from gourmetgram.kafka import BrokerWatch, create_producer, forget_messages
from gourmetgram.settings import KafkaSettings

log = logging.getLogger(__name__)

Delivered = Callable[[KafkaError | None, Message], None]

_CONFIG: Final = {
    "message.timeout.ms": 0,
    # Events are small and alike: more effort saves little room and takes processor time from the requests.
    "compression.level": 1,
}
_POLL_S: Final = 0.05
_PROBE_TIMEOUT_S: Final = 1.0


class OutboxRow(NamedTuple):
    """An event that waits in the outbox."""

    sequence: int
    topic: str
    key: str
    payload: bytes


class Publisher:
    """One producer. `publish` blocks: call it in a thread, one call at a time.

    Messages never time out in the producer: librdkafka retries them for ever and in order, so that no event can
    overtake an older one of its image while the broker is away.

    Args:
        settings: where the broker is.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Producer | None = None
        self._watch = BrokerWatch()
        self._publishing = False
        self._create = threading.Lock()

    def publish(self, rows: Sequence[OutboxRow], abandon: threading.Event) -> list[OutboxRow]:
        """Publish the rows in their order and wait for the broker.

        Args:
            rows: in outbox order.
            abandon: once set, give up what is not confirmed yet.

        Returns:
            The confirmed rows. The others may have reached the broker too; publish them again, in order.
        """
        self._publishing = True
        try:
            return self._publish(self._current(), rows, abandon)
        finally:
            self._publishing = False

    def _publish(self, producer: Producer, rows: Sequence[OutboxRow], abandon: threading.Event) -> list[OutboxRow]:
        confirmed: list[OutboxRow] = []
        failures: list[KafkaError] = []

        for row in rows:

            def delivered(error: KafkaError | None, _message: Message, row: OutboxRow = row) -> None:
                if error is None:
                    confirmed.append(row)
                else:
                    failures.append(error)

            self._queue(producer, row, delivered, abandon)
        while len(confirmed) + len(failures) < len(rows) and not abandon.is_set():
            producer.poll(_POLL_S)
        if len(confirmed) < len(rows):
            if failures:
                log.warning("The broker did not take %d of %d events: %s", len(failures), len(rows), failures[0].str())
            self._discard(producer)
        return confirmed

    def broker_answers(self) -> bool:
        """Ask the broker for one of our topics. Blocks for up to a second; to be called about once a second."""
        producer = self._current()
        if not self._publishing:
            # Serves the statistics; `publish` does so by itself, and waits for the answers that would be served here.
            producer.poll(0)
        if self._watch.lost:
            log.warning("The Kafka client has forgotten all its brokers; a new one takes its place")
            self._discard(producer)
            return False
        try:
            producer.list_topics(self._settings.kafka_topic_views, timeout=_PROBE_TIMEOUT_S)
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        """Drop the producer; nothing may be under way."""
        if self._producer is not None:
            self._discard(self._producer)

    def _queue(self, producer: Producer, row: OutboxRow, delivered: Delivered, abandon: threading.Event) -> None:
        while not abandon.is_set():
            try:
                producer.produce(row.topic, key=row.key, value=row.payload, on_delivery=delivered)
            except BufferError:
                # The queue is full: make room.
                producer.poll(_POLL_S)
            else:
                return

    def _current(self) -> Producer:
        with self._create:
            if self._producer is None:
                self._watch = BrokerWatch()
                self._producer = create_producer(
                    self._settings, "gourmetgram-outbox-relay", **_CONFIG, **self._watch.config()
                )
            return self._producer

    def _discard(self, producer: Producer) -> None:
        """Forget what is queued. A new producer begins a new session, which is clean after any kind of failure."""
        forget_messages(producer)
        with self._create:
            if self._producer is producer:
                self._producer = None
