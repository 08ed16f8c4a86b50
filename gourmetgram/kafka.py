"""Kafka clients as every service configures them, and how a message is published for certain.

confluent-kafka (librdkafka) everywhere in services: about ten times the throughput of kafka-python on the same box.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from confluent_kafka import (
    OFFSET_INVALID,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from gourmetgram.errors import PlatformError, TransientError
from gourmetgram.events import Record
from gourmetgram.settings import KafkaSettings

log = logging.getLogger(__name__)

PARTITIONER: Final = "murmur2_random"
"""kafka-python's and Java's default too: an image has the same partition number in every topic."""

MAKE_TOPICS: Final = "`python -m gourmetgram.topics` (Compose: `docker compose up redpanda-init`)"
"""The commands that create missing topics, for messages to people."""

OutgoingMessage = tuple[str, str | None, bytes]
"""Topic, key, value."""


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, str | int | float | bool]:
    """Settings shared by producers, consumers and admin clients."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": client_id,
        # A broker that comes back is found within a second or two, not after the default's ten.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2000,
        "socket.keepalive.enable": True,
        # The broker is this platform's own, possibly on localhost, where IPv6 may be missing.
        "broker.address.family": "v4",
        "log_level": 3,
    }


class BrokerWatch:
    """Notices that a client has forgotten all its brokers. It never comes back then: it has to be replaced.

    See docs/decisions/kafka-clients.md for how that happens.
    """

    INTERVAL_MS: Final = 1_000
    """How often the client is looked at; the setting `statistics.interval.ms`."""

    _LOOKS: Final = 3
    """Empty looks in a row that decide: between two sets of brokers a client has none for a moment."""

    def __init__(self) -> None:
        self._empty = 0

    @property
    def lost(self) -> bool:
        """Whether the client knows no server that it could ask."""
        return self._empty >= self._LOOKS

    def look(self, statistics: Mapping[str, Any]) -> None:
        """Take the client's statistics.

        Args:
            statistics: the JSON document that `stats_cb` is given, decoded. A broker in it whose source is "logical"
                is a role, such as the group's coordinator, and no server.
        """
        known = any(broker["source"] != "logical" for broker in statistics["brokers"].values())
        self._empty = 0 if known else self._empty + 1

    def config(self) -> dict[str, object]:
        """Settings of a client whose statistics serve nothing else. Its owner has to poll it, also when it is idle."""
        return {
            "statistics.interval.ms": self.INTERVAL_MS,
            "stats_cb": lambda text: self.look(orjson.loads(text)),
        }

    def check(self) -> None:
        """Ask in a process that a supervisor starts again.

        Raises:
            PlatformError: the brokers are forgotten.
        """
        if self.lost:
            raise PlatformError("the Kafka client has forgotten all its brokers; only a new process can help")


def create_producer(settings: KafkaSettings, client_id: str, **overrides: object) -> Producer:
    """A producer that neither loses nor repeats within its session: acks=all, idempotent, murmur2 by key."""
    return Producer(
        {
            **client_config(settings, client_id),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "gzip",
            "partitioner": PARTITIONER,
            # Batches form while the previous request is under way; waiting for more would only add latency.
            "linger.ms": 0,
            **overrides,
        }
    )


def create_consumer(settings: KafkaSettings, client_id: str, group: str, **overrides: object) -> Consumer:
    """A consumer that commits only when told to and starts a new group at the earliest record.

    Range assignment gives a member the same partition numbers of every topic, which keeps an image's events together.
    """
    return Consumer(
        {
            **client_config(settings, client_id),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 2_000,
            "fetch.wait.max.ms": 100,
            # Bounds the memory of a replica that reads a long history.
            "queued.max.messages.kbytes": 32_768,
            **overrides,
        }
    )


def to_record(message: Message) -> Record:
    """The place, broker time and bytes of a consumed message (one without an error)."""
    timestamp_type, milliseconds = message.timestamp()
    # The client's types allow None for messages that were never in Kafka; a consumed one has all of these.
    return Record(
        message.topic(),  # type: ignore[arg-type]
        message.partition(),  # type: ignore[arg-type]
        message.offset(),  # type: ignore[arg-type]
        0 if timestamp_type == TIMESTAMP_NOT_AVAILABLE else milliseconds * 1000,
        message.value(),
    )


def publish_all(producer: Producer, messages: Iterable[OutgoingMessage], timeout_s: float = 30.0) -> None:
    """Publish and wait until the broker has confirmed every message.

    Raises:
        TransientError: at least one message was not confirmed in time. Some may have been; publish all again.
    """
    failures: list[KafkaError] = []
    pending = 0

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal pending
        pending -= 1
        if error is not None:
            failures.append(error)

    for topic, key, value in messages:
        try:
            _produce(producer, topic, key, value, delivered)
        except KafkaException as error:
            raise TransientError(f"the producer does not take a message for {topic}: {error}") from error
        pending += 1
    if pending:
        producer.flush(timeout_s)
    if failures:
        raise TransientError(f"the broker refused or lost a message: {failures[0].str()}")
    if pending:
        raise TransientError(f"the broker did not confirm {pending} messages within {timeout_s:g} s")


def forget_messages(producer: Producer) -> None:
    """Drop what a producer still holds, before another takes its place; their callbacks are told that it failed.

    What is on its way may have reached the broker.
    """
    producer.purge(in_queue=True, in_flight=True, blocking=False)
    producer.poll(0)


class DeadLetterTopic:
    """Publishes dead letters; a producer that failed is replaced, because it may not find a topic that is made anew.

    Args:
        settings: where the broker and the topic are.
        client_id: of the producer.
        timeout_s: how long to wait for the broker's confirmation.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, timeout_s: float) -> None:
        self._settings = settings
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._producer: Producer | None = None

    def publish(self, letters: Sequence[bytes]) -> None:
        """Publish and wait until the broker has all of them.

        Raises:
            TransientError: it has not. Some may be there; publish all again.
        """
        topic = self._settings.dead_letter_topic
        producer = self._producer = self._producer or create_producer(self._settings, self._client_id)
        try:
            publish_all(producer, ((topic, None, letter) for letter in letters), self._timeout_s)
        except TransientError as error:
            # The next attempt publishes all of them again: what this client still holds must not follow it.
            forget_messages(producer)
            self._producer = None
            raise TransientError(
                f"{len(letters)} unreadable messages wait, because topic {topic} does not take them: {error}. "
                f"When the topic is missing, make it again with {MAKE_TOPICS}"
            ) from error


def _produce(
    producer: Producer,
    topic: str,
    key: str | None,
    value: bytes,
    delivered: Callable[[KafkaError | None, Message], None],
) -> None:
    """Queue one message; a full queue makes room by waiting for deliveries."""
    while True:
        try:
            producer.produce(topic, key=key, value=value, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def end_offsets(
    consumer: Consumer, partitions: Iterable[tuple[str, int]], timeout_s: float = 5.0
) -> dict[tuple[str, int], int]:
    """The broker's next offset of each partition, asked now.

    Raises:
        TransientError: the broker did not answer.
    """
    ends = {}
    try:
        for topic, partition in partitions:
            watermarks = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout_s)
            if watermarks is None:
                raise TransientError(f"the broker did not report the end of {topic}/{partition}")
            ends[topic, partition] = watermarks[1]
    except KafkaException as error:
        raise TransientError(f"the broker did not report its end offsets: {error}") from error
    return ends


def commit_offsets(consumer: Consumer, next_offsets: Mapping[tuple[str, int], int]) -> None:
    """Commit the next offset to read of each partition, and wait for the broker's answer.

    Raises:
        TransientError: the commit did not succeed; the same records may be delivered again.
    """
    if not next_offsets:
        return
    offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in next_offsets.items()]
    try:
        answers = consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        raise TransientError(f"offsets were not committed: {error}") from error
    failed = [answer for answer in answers or () if answer.error is not None]
    if failed:
        raise TransientError(f"offsets were not committed: {failed[0].error}")


def committed_offsets(
    consumer: Consumer, partitions: Iterable[tuple[str, int]], timeout_s: float = 10.0
) -> dict[tuple[str, int], int | None]:
    """The group's committed next offset of each partition; None where it has none yet.

    Raises:
        TransientError: the broker did not answer for all of them.
    """
    asked = [TopicPartition(topic, partition) for topic, partition in partitions]
    if not asked:
        return {}
    try:
        answers = consumer.committed(asked, timeout=timeout_s)
    except KafkaException as error:
        raise TransientError(f"committed offsets are not readable: {error}") from error
    failed = [answer for answer in answers if answer.error is not None]
    if failed:
        raise TransientError(f"committed offsets are not readable: {failed[0].error}")
    return {
        (answer.topic, answer.partition): None if answer.offset == OFFSET_INVALID else answer.offset
        for answer in answers
    }
