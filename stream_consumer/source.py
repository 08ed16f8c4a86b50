"""Source of events: membership in the consumer group, reading, commits."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.clients import create_consumer
from gourmetgram.kafka.offsets import commit_offsets, committed_offsets
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.records import to_record
from gourmetgram.kafka.status import BrokerWatch, ClientStatistics, PartitionStatus, partition_statuses
from stream_consumer.settings import ConsumerSettings

log = logging.getLogger(__name__)

CLIENT_ID: Final = "gourmetgram-stream-consumer"
_COMMITTED_TIMEOUT_S: Final = 5.0


class RebalanceListener(Protocol):
    """Follows the assignment of partitions; called from within `poll`, `rest` and `close` of the source."""

    def partitions_assigned(self) -> None:
        """The group has assigned partitions. Nothing is read before `read_from`."""

    def partitions_revoked(self, lost: bool) -> None:
        """Finish and commit, while the partitions are still assigned; `lost`: another member may have them already."""


class EventSource:
    """Reads the event topics as a member of the group.

    Args:
        settings: broker, topics and group.
    """

    def __init__(self, settings: ConsumerSettings) -> None:
        self._topics = settings.topics
        self._listener: RebalanceListener | None = None
        self._assigned: tuple[Partition, ...] = ()
        self._statuses: Mapping[Partition, PartitionStatus] = {}
        self._watch = BrokerWatch()
        self._consumer = create_consumer(
            settings,
            CLIENT_ID,
            settings.kafka_consumer_group,
            **{
                **self._watch.config(also=self._on_statistics),
                "error_cb": self._on_error,
                "on_commit": _on_commit,
                "socket.timeout.ms": 10_000,
                # Topics that are created after the start are found soon.
                "topic.metadata.refresh.interval.ms": 10_000,
            },
        )

    @property
    def assigned(self) -> tuple[Partition, ...]:
        """Partitions that the group has assigned to this process, sorted."""
        return self._assigned

    @property
    def statuses(self) -> Mapping[Partition, PartitionStatus]:
        """Offsets of the partitions in the newest statistics of the client."""
        return self._statuses

    @property
    def connected(self) -> bool:
        """True while the client holds a connection to the broker."""
        return self._watch.connected

    def subscribe(self, listener: RebalanceListener) -> None:
        """Join the group."""
        self._listener = listener
        self._consumer.subscribe(
            list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, timeout_s: float, at_most: int, at_once: int) -> list[Record]:
        """Poll for records; waits only for the first.

        Args:
            timeout_s: longest wait for the first record, seconds.
            at_most: number of records after which to stop.
            at_once: number of records that are taken in one step.

        Raises:
            PlatformError: the client is broken for good; only a new process can help.
        """
        self._watch.check()
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        messages = [first]
        while len(messages) < at_most:
            more = self._consumer.consume(min(at_once, at_most - len(messages)), 0)
            messages += more
            if len(more) < at_once:
                break
        return [to_record(message) for message in messages if message.error() is None or _is_record(message)]

    def rest(self, timeout_s: float) -> None:
        """Stay in the group for a while without reading, until the next `read_from`.

        Raises:
            PlatformError: the client is broken for good; only a new process can help.
        """
        self._watch.check()
        self._consumer.assign([])
        message = self._consumer.poll(timeout_s)
        if message is not None:
            _is_record(message)

    def read_from(self, starts: Mapping[Partition, int]) -> None:
        """Begin to read at these offsets."""
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in starts.items()])

    def committed(self, of: Sequence[Partition]) -> dict[Partition, int | None]:
        """Offsets that the group has committed, by a request to the broker; None without one.

        Raises:
            TransientError: the broker did not answer.
        """
        return committed_offsets(self._consumer, of, _COMMITTED_TIMEOUT_S)

    def known_end(self, partition: Partition) -> int:
        """Next offset of a partition in the last answers of the broker; negative when unknown. Costs no request."""
        _low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return int(high)

    def commit(self, offsets: Mapping[Partition, int], wait: bool) -> None:
        """Commit next offsets.

        Args:
            offsets: next offset of each partition.
            wait: wait for the broker's answer. Without it a failure is only logged: the next commit repeats it.

        Raises:
            TransientError: the commit did not succeed.
        """
        if not offsets:
            return
        if wait:
            commit_offsets(self._consumer, offsets)
            return
        try:
            self._consumer.commit(
                offsets=[TopicPartition(*partition, offset) for partition, offset in offsets.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            raise TransientError(f"offsets were not committed: {error}") from error

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._assigned = tuple(sorted(Partition(item.topic, item.partition) for item in assigned))
        # Reading begins with `read_from`, once the offsets in Redis are known.
        consumer.assign([])
        log.info("Reading %d partitions of %d topics", len(assigned), len(self._topics))
        if self._listener is not None:
            self._listener.partitions_assigned()

    def _on_revoke(self, _consumer: Consumer, _revoked: list[TopicPartition]) -> None:
        self._revoke(lost=False)

    def _on_lost(self, _consumer: Consumer, _lost: list[TopicPartition]) -> None:
        log.warning("The group revoked this consumer's partitions: it did not poll for too long")
        self._revoke(lost=True)

    def _revoke(self, lost: bool) -> None:
        if self._listener is not None:
            self._listener.partitions_revoked(lost)
        self._assigned = ()

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._watch.disconnected()
        log.warning("Kafka: %s", error.str())

    def _on_statistics(self, statistics: ClientStatistics) -> None:
        self._statuses = partition_statuses(statistics)


def _is_record(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    log.warning("Kafka: %s", error.str())
    return False


def _on_commit(error: KafkaError | None, _offsets: list[TopicPartition]) -> None:
    if error is not None and error.code() != KafkaError._NO_OFFSET:
        log.warning("Offsets were not committed: %s", error.str())
