"""Publishing to Kafka, with the broker's confirmation of every message."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from gourmetgram.kafka import MAKE_TOPICS, BrokerWatch, create_producer, forget_messages
from gourmetgram.settings import KafkaSettings

log = logging.getLogger(__name__)

Delivered = Callable[[KafkaError | None, Message], None]

_CONFIG: Final = {
    "message.timeout.ms": 0,
    # Events are small and alike: more effort saves little room and takes processor time from the requests.
    "compression.level": 1,
    # A topic that the broker does not know fails soon: the events of the others wait for the same batch to end.
    "topic.metadata.propagation.max.ms": 1_000,
}
_DROPPED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
"""Told of messages that this process itself has dropped."""

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
        self.failed: frozenset[str] = frozenset()
        """Topics that did not take their events at the last `publish`."""
        self.missing: frozenset[str] = frozenset()
        """Topics that did not exist at the last look."""

    def publish(self, rows: Sequence[OutboxRow], abandon: threading.Event) -> list[OutboxRow]:
        """Publish the rows in their order and wait for the broker. A topic that fails stops none of the others.

        Args:
            rows: in outbox order.
            abandon: once set, give up what is not confirmed yet.

        Returns:
            The confirmed rows. The others may have reached the broker too; publish them again, in order. `failed`
            then names the topics that did not take theirs.
        """
        self._publishing = True
        producer = self._current()
        try:
            confirmed = self._publish(producer, rows, abandon)
        except Exception:
            # Whatever is wrong with this producer may stay wrong for ever.
            self._discard(producer)
            raise
        finally:
            self._publishing = False
        if len(confirmed) < len(rows):
            self._discard(producer)
        return confirmed

    def _publish(self, producer: Producer, rows: Sequence[OutboxRow], abandon: threading.Event) -> list[OutboxRow]:
        confirmed: list[OutboxRow] = []
        failures: dict[str, KafkaError] = {}
        answers = queued = 0

        for row in rows:

            def delivered(error: KafkaError | None, _message: Message, row: OutboxRow = row) -> None:
                nonlocal answers
                answers += 1
                if error is None:
                    confirmed.append(row)
                elif error.code() not in _DROPPED:
                    failures.setdefault(row.topic, error)

            if row.topic in failures:
                # No event may overtake an older one of its topic.
                continue
            try:
                queued += self._queue(producer, row, delivered, abandon)
            except KafkaException as error:
                failures[row.topic] = error.args[0]
        while answers < queued and not abandon.is_set():
            producer.poll(_POLL_S)
        for topic, problem in failures.items():
            if topic not in self.failed:
                log.warning("The broker does not take events of topic %s, which wait: %s", topic, problem.str())
        self.failed = frozenset(failures)
        return confirmed

    def broker_answers(self) -> bool:
        """Ask the broker for our topics. Blocks for up to a second each; to be called about once a second.

        `missing` then names those that do not exist.
        """
        producer = self._current()
        if not self._publishing:
            # Serves the statistics; `publish` does so by itself, and waits for the answers that would be served here.
            producer.poll(0)
        if self._watch.lost:
            log.warning("The Kafka client has forgotten all its brokers; a new one takes its place")
            self._discard(producer)
            return False
        try:
            missing = frozenset(topic for topic in self._settings.event_topics if not _exists(producer, topic))
        except KafkaException:
            return False
        if missing != self.missing:
            self._note_missing(missing)
            # A topic that was made anew is another one: a producer that knows the old one may never find it.
            self._discard(producer)
        return True

    def close(self) -> None:
        """Drop the producer; nothing may be under way."""
        if self._producer is not None:
            self._discard(self._producer)

    def _note_missing(self, missing: frozenset[str]) -> None:
        for topic in sorted(missing - self.missing):
            log.warning(
                "Topic %s does not exist; its events wait in the outbox. Make it again with %s", topic, MAKE_TOPICS
            )
        for topic in sorted(self.missing - missing):
            log.info("Topic %s exists again; its events follow", topic)
        self.missing = missing

    def _queue(self, producer: Producer, row: OutboxRow, delivered: Delivered, abandon: threading.Event) -> bool:
        """Give the producer a message; tells whether it has it.

        Raises:
            KafkaException: it does not take it.
        """
        while not abandon.is_set():
            try:
                producer.produce(row.topic, key=row.key, value=row.payload, on_delivery=delivered)
            except BufferError:
                # The queue is full: make room.
                producer.poll(_POLL_S)
            else:
                return True
        return False

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


def _exists(producer: Producer, topic: str) -> bool:
    """Tell whether the broker has a topic.

    Raises:
        KafkaException: the broker does not answer.
    """
    error = producer.list_topics(topic, timeout=_PROBE_TIMEOUT_S).topics[topic].error
    return error is None or error.code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
