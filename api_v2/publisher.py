"""Publishing of outbox events to Kafka, and the state of the broker as the relay sees it."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from gourmetgram.kafka.clients import MAKE_TOPICS, create_producer
from gourmetgram.kafka.metadata import topic_exists
from gourmetgram.kafka.publish import Publisher
from gourmetgram.kafka.status import BrokerWatch
from gourmetgram.settings import KafkaSettings

log = logging.getLogger(__name__)

CLIENT_ID: Final = "gourmetgram-outbox-relay"

_CONFIG: Final = {
    # Messages never time out in the producer: librdkafka retries them for ever and in order. So no event can overtake
    # an older one of its image while the broker is away.
    "message.timeout.ms": 0,
    # Events are small and similar: a higher level saves little space and takes processor time from the requests.
    "compression.level": 1,
    # A missing topic fails soon: events of the other topics wait for the same batch to end.
    "topic.metadata.propagation.max.ms": 1_000,
}
_PROBE_TIMEOUT_S: Final = 1.0


class OutboxEvent(NamedTuple):
    """A pending event of the outbox, as a message to publish."""

    sequence: int
    topic: str
    key: str
    value: bytes


class OutboxPublisher:
    """Publishes outbox rows. `publish` blocks: call it in a thread, one call at a time.

    Args:
        settings: address of the broker, and the topics.
        create: creates a producer; see `create_producer`.
    """

    def __init__(self, settings: KafkaSettings, create: Callable[..., Producer] = create_producer) -> None:
        self._settings = settings
        self._create = create
        self._watch = BrokerWatch()
        self._publisher = Publisher(self._create_producer)
        self._publishing = False
        self.failed: frozenset[str] = frozenset()
        """Topics that refused their events at the last `publish`."""
        self.missing: frozenset[str] = frozenset()
        """Topics that did not exist at the last probe."""

    def publish(self, rows: Sequence[OutboxEvent], abandon: threading.Event) -> list[OutboxEvent]:
        """Publish rows in their order and wait for the broker. The failure of one topic does not stop the others.

        Args:
            rows: in outbox order.
            abandon: ends the wait for confirmations when it is set.

        Returns:
            The confirmed rows. The broker may have stored some of the others; publish them again, in order. `failed`
            then names the topics that refused their events.
        """
        self._publishing = True
        try:
            outcome = self._publisher.publish(rows, abandon=abandon)
        finally:
            self._publishing = False
        self._note_failures(outcome.failures)
        return outcome.confirmed

    def broker_answers(self) -> bool:
        """Probe the broker for the event topics, and set `missing` to those that do not exist.

        Each topic takes up to a second while the broker is slow; call it about once a second.
        """
        producer = self._publisher.producer
        if not self._publishing:
            # Serves the statistics. Not during `publish`, which serves them itself and waits for the answers served
            # here.
            producer.poll(0)
        if self._watch.lost:
            log.warning("The Kafka client has forgotten all its brokers; a new one takes its place")
            self._publisher.discard(producer)
            return False
        try:
            missing = frozenset(
                topic for topic in self._settings.event_topics if not topic_exists(producer, topic, _PROBE_TIMEOUT_S)
            )
        except KafkaException:
            return False
        if missing != self.missing:
            self._note_missing(missing)
            # A topic that was created again has another id: a producer that knows the old one may never find it.
            self._publisher.discard(producer)
        return True

    def close(self) -> None:
        """Drop the producer; nothing may be in flight."""
        self._publisher.close()

    def _create_producer(self) -> Producer:
        self._watch = BrokerWatch()
        return self._create(self._settings, CLIENT_ID, **_CONFIG, **self._watch.config())

    def _note_failures(self, failures: dict[str, KafkaError]) -> None:
        for topic, error in failures.items():
            if topic not in self.failed:
                log.warning("The broker refuses events of topic %s, which wait: %s", topic, error.str())
        self.failed = frozenset(failures)

    def _note_missing(self, missing: frozenset[str]) -> None:
        for topic in sorted(missing - self.missing):
            log.warning("Topic %s does not exist; its events wait in the outbox. Create it with %s", topic, MAKE_TOPICS)
        for topic in sorted(self.missing - missing):
            log.info("Topic %s exists again; its events follow", topic)
        self.missing = missing
