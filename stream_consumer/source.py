"""The consumer's side of Kafka: reading, the ends of partitions, commits."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, Protocol, TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.clients import client_config, create_consumer
from gourmetgram.kafka.metadata import topic_ids
from gourmetgram.kafka.offsets import commit_offsets
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.records import to_record
from gourmetgram.kafka.status import BrokerWatch, ClientStatistics, PartitionStatus, partition_statuses
from stream_consumer.alignment import PartitionLimits
from stream_consumer.settings import ConsumerSettings

log = logging.getLogger(__name__)

CLIENT_ID: Final = "gourmetgram-stream-consumer"
_ANSWER_TIMEOUT_S: Final = 2.0
_EARLIEST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_Answer = TypeVar("_Answer")


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
        self._settings = settings
        self._listener: RebalanceListener | None = None
        self._assigned: tuple[Partition, ...] = ()
        self._statuses: Mapping[Partition, PartitionStatus] = {}
        self._watch = BrokerWatch()
        self._admin = self._create_admin()
        self._ends_client = self._create_ends_client()
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
            list(self._settings.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, timeout_s: float, at_most: int, at_once: int) -> list[Record]:
        """Records that are there now; waits only for the first.

        Args:
            timeout_s: longest wait for the first record.
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

    def limits(self, of: Sequence[Partition]) -> dict[Partition, PartitionLimits]:
        """First and next offset of partitions, and the identity of their topics, asked now.

        Raises:
            TransientError: the broker did not answer.
        """
        low = self._list_offsets(of, _EARLIEST)
        high = self._list_offsets(of, _LATEST)
        origins = self._origins(sorted({partition.topic for partition in of}))
        return {
            partition: PartitionLimits(low[partition], high[partition], origins[partition.topic]) for partition in of
        }

    def ends(self, of: Iterable[Partition]) -> dict[Partition, int]:
        """Next offset of partitions, asked now.

        One request over a connection of its own: the consumer's is held by fetch requests for up to 100 ms. (The admin
        client looks the leaders up anew for each question, which takes half as long again.)

        Raises:
            TransientError: the broker did not answer.
        """
        wanted = [TopicPartition(*partition, OFFSET_END) for partition in of]
        try:
            answers = self._ends_client.offsets_for_times(wanted, timeout=_ANSWER_TIMEOUT_S)
            for answer in answers:
                if answer.error is not None:
                    raise KafkaException(answer.error)
        except KafkaException as error:
            self._ends_client.close()
            self._ends_client = self._create_ends_client()
            raise TransientError(f"the broker did not report its offsets: {error}") from error
        return {Partition(answer.topic, answer.partition): answer.offset for answer in answers}

    def known_end(self, partition: Partition) -> int:
        """Next offset of a partition in the last answers of the broker; negative when unknown. Costs no request."""
        _low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return int(high)

    def commit(self, offsets: Mapping[Partition, int], wait: bool) -> None:
        """Commit next offsets.

        Args:
            offsets: per partition.
            wait: for the answer of the broker. Without it a failure is only logged: the next commit makes up for it.

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
        self._ends_client.close()

    def _list_offsets(self, of: Iterable[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        wanted = {TopicPartition(*partition): spec for partition in of}
        if not wanted:
            return {}
        try:
            answers = self._admin.list_offsets(wanted, request_timeout=_ANSWER_TIMEOUT_S)
            return {Partition(found.topic, found.partition): _wait(answer).offset for found, answer in answers.items()}
        except (KafkaException, TimeoutError) as error:
            # After a broker's restart a client goes on asking with the leader epoch from before it
            # (FENCED_LEADER_EPOCH) for minutes; a new one learns the epoch at once.
            self._admin = self._create_admin()
            raise TransientError(f"the broker did not report its offsets: {error}") from error

    def _origins(self, topics: list[str]) -> dict[str, str]:
        ids = topic_ids(self._admin, topics, _ANSWER_TIMEOUT_S)
        missing = sorted(set(topics) - set(ids))
        if missing:
            raise TransientError(f"the broker has no topic {missing[0]}")
        if None not in ids.values():
            return {topic: f"topic:{topic_id}" for topic, topic_id in ids.items()}
        # A broker without topic ids. A broker with new storage is at least a new cluster.
        try:
            cluster = self._admin.list_topics(timeout=_ANSWER_TIMEOUT_S).cluster_id
        except KafkaException as error:
            raise TransientError(f"the broker did not describe its cluster: {error}") from error
        return dict.fromkeys(topics, f"cluster:{cluster}")

    def _create_ends_client(self) -> Consumer:
        """A client that reads nothing and is no member of the group: its connection is always free."""
        return Consumer({**client_config(self._settings, f"{CLIENT_ID}-ends"), "group.id": f"{CLIENT_ID}-ends"})

    def _create_admin(self) -> AdminClient:
        return AdminClient(client_config(self._settings, f"{CLIENT_ID}-admin"))

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._assigned = tuple(sorted(Partition(item.topic, item.partition) for item in assigned))
        # Reading begins when Redis has told where (read_from).
        consumer.assign([])
        log.info("Reading %d partitions of %d topics", len(assigned), len(self._settings.topics))
        if self._listener is not None:
            self._listener.partitions_assigned()

    def _on_revoke(self, _consumer: Consumer, _revoked: list[TopicPartition]) -> None:
        self._revoke(lost=False)

    def _on_lost(self, _consumer: Consumer, _lost: list[TopicPartition]) -> None:
        log.warning("The group gave this consumer's partitions away: it was silent for too long")
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


def _wait(answer: Future[_Answer]) -> _Answer:
    return answer.result(_ANSWER_TIMEOUT_S + 0.5)
