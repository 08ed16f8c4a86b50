"""The consumer's side of Kafka: what it reads, where partitions begin and end, what it commits."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple, Protocol, TypeVar

import orjson
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.clients import client_config, create_consumer
from gourmetgram.kafka.offsets import commit_offsets
from gourmetgram.kafka.records import to_record
from gourmetgram.kafka.status import BrokerWatch, partition_statuses
from stream_consumer import partitions
from stream_consumer.settings import ConsumerSettings

log = logging.getLogger(__name__)

CLIENT_ID: Final = "gourmetgram-stream-consumer"
_ANSWER_TIMEOUT_S: Final = 2.0
_EARLIEST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_Answer = TypeVar("_Answer")
_NO_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"


class Limits(NamedTuple):
    """What the broker holds of a partition.

    Attributes:
        low: its first offset.
        high: its next offset.
        origin: `<sort>:<id>`, names the topic behind the name, so that one made anew is recognised.
    """

    low: int
    high: int
    origin: str


class RebalanceListener(Protocol):
    """Told about partitions before they go."""

    def partitions_go(self, lost: bool) -> None:
        """Finish what can be finished; `lost` means that somebody else may have them already."""


class EventSource:
    """Reads the event topics as a member of the group.

    `assigned` and `rebalances` change only inside `poll`, `rest` and `close`.
    """

    def __init__(self, settings: ConsumerSettings, listener: RebalanceListener) -> None:
        self._topics = settings.topics
        self._listener = listener
        self.assigned: tuple[partitions.TopicPartition, ...] = ()
        self.rebalances = 0
        self.broker_up = False
        self.high: dict[partitions.TopicPartition, int] = {}
        self.low: dict[partitions.TopicPartition, int] = {}
        self._settings = settings
        self._watch = BrokerWatch()
        self._admin = self._create_admin()
        self._asker = self._create_asker()
        self._consumer = create_consumer(
            settings,
            CLIENT_ID,
            settings.kafka_consumer_group,
            **{
                # Tells within seconds whether the broker is there, without a request of ours that could block.
                "statistics.interval.ms": BrokerWatch.INTERVAL_MS,
                "stats_cb": self._on_statistics,
                "error_cb": self._on_error,
                "on_commit": _on_commit,
                "socket.timeout.ms": 10_000,
                # Topics that are created after the start are found soon.
                "topic.metadata.refresh.interval.ms": 10_000,
            },
        )
        self._consumer.subscribe(
            list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    # --- reading ---------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float, at_most: int, look: int) -> list[Record]:
        """Records that are there now; waits only for the first.

        Args:
            timeout_s: how long to wait for a first record.
            at_most: number of records after which to stop.
            look: records taken at once.

        Raises:
            PlatformError: the client is broken for good; only a new process can help.
        """
        self._watch.check()
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        messages = [first]
        while len(messages) < at_most:
            more = self._consumer.consume(min(look, at_most - len(messages)), 0)
            messages += more
            if len(more) < look:
                break
        return [to_record(message) for message in messages if message.error() is None or self._is_record(message)]

    def rest(self, timeout_s: float) -> None:
        """Stay in the group for a while without reading anything, until the next `read_from`.

        Raises:
            PlatformError: the client is broken for good; only a new process can help.
        """
        self._watch.check()
        self._consumer.assign([])
        message = self._consumer.poll(timeout_s)
        if message is not None:
            self._is_record(message)

    def read_from(self, starts: Mapping[partitions.TopicPartition, int]) -> None:
        """Read the assigned partitions from these offsets; what was fetched before is dropped."""
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in starts.items()])

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        log.warning("Kafka: %s", error.str())
        return False

    # --- what the broker knows -------------------------------------------------------------------------------------

    def limits(self, of: Sequence[partitions.TopicPartition]) -> dict[partitions.TopicPartition, Limits]:
        """First and next offset of partitions, and which topics they are.

        Raises:
            TransientError: the broker did not answer.
        """
        low = self._list_offsets(of, _EARLIEST)
        high = self._list_offsets(of, _LATEST)
        origins = self._origins(sorted({topic for topic, _ in of}))
        return {partition: Limits(low[partition], high[partition], origins[partition[0]]) for partition in of}

    def ends(self, of: Iterable[partitions.TopicPartition]) -> dict[partitions.TopicPartition, int]:
        """The next offset of partitions, asked now.

        One request over a connection of its own: the consumer's is held by fetch requests for up to 100 ms. (The admin
        client looks the leaders up anew for each question, which takes half as long again.)

        Raises:
            TransientError: the broker did not answer.
        """
        wanted = [TopicPartition(*partition, OFFSET_END) for partition in of]
        try:
            answers = self._asker.offsets_for_times(wanted, timeout=_ANSWER_TIMEOUT_S)
            for answer in answers:
                if answer.error is not None:
                    raise KafkaException(answer.error)
        except KafkaException as error:
            self._asker.close()
            self._asker = self._create_asker()
            raise TransientError(f"the broker did not report its offsets: {error}") from error
        return {partitions.TopicPartition(answer.topic, answer.partition): answer.offset for answer in answers}

    def known_end(self, partition: partitions.TopicPartition) -> int:
        """The next offset of a partition as the last answers of the broker told it; costs no request."""
        _low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return int(high)

    def _list_offsets(
        self, of: Iterable[partitions.TopicPartition], spec: OffsetSpec
    ) -> dict[partitions.TopicPartition, int]:
        wanted = {TopicPartition(*partition): spec for partition in of}
        if not wanted:
            return {}
        try:
            answers = self._admin.list_offsets(wanted, request_timeout=_ANSWER_TIMEOUT_S)
            return {
                partitions.TopicPartition(found.topic, found.partition): _wait(answer).offset
                for found, answer in answers.items()
            }
        except (KafkaException, TimeoutError) as error:
            # After a broker's restart a client goes on asking with the leader epoch from before it
            # (FENCED_LEADER_EPOCH) for minutes; a new one learns the epoch at once.
            self._admin = self._create_admin()
            raise TransientError(f"the broker did not report its offsets: {error}") from error

    def _create_asker(self) -> Consumer:
        """A client that reads nothing and is no member of the group: its connection is always free."""
        return Consumer({**client_config(self._settings, f"{CLIENT_ID}-ends"), "group.id": f"{CLIENT_ID}-ends"})

    def _create_admin(self) -> AdminClient:
        return AdminClient(client_config(self._settings, f"{CLIENT_ID}-admin"))

    def _origins(self, topics: list[str]) -> dict[str, str]:
        try:
            answers = self._admin.describe_topics(TopicCollection(topics), request_timeout=_ANSWER_TIMEOUT_S)
            ids = {topic: str(_wait(answer).topic_id) for topic, answer in answers.items()}
            if _NO_TOPIC_ID not in ids.values():
                return {topic: f"topic:{name}" for topic, name in ids.items()}
            # A broker without topic ids answers zeros. A broker with new storage is at least a new cluster.
            cluster = self._admin.list_topics(timeout=_ANSWER_TIMEOUT_S).cluster_id
        except (KafkaException, TimeoutError) as error:
            raise TransientError(f"the broker did not describe its topics: {error}") from error
        return dict.fromkeys(topics, f"cluster:{cluster}")

    # --- commits ---------------------------------------------------------------------------------------------------

    def commit(self, offsets: Mapping[partitions.TopicPartition, int], wait: bool) -> None:
        """Commit next offsets.

        Args:
            offsets: per partition.
            wait: for the broker's answer. Without it a failure is only logged: the next commit makes up for it.

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
        self._asker.close()

    # --- callbacks -------------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self.assigned = tuple(sorted(partitions.TopicPartition(item.topic, item.partition) for item in assigned))
        self.rebalances += 1
        # Reading begins when Redis has said where (read_from).
        consumer.assign([])
        log.info("Reading %d partitions of %d topics", len(assigned), len(self._topics))

    def _on_revoke(self, _consumer: Consumer, _revoked: list[TopicPartition]) -> None:
        self._listener.partitions_go(lost=False)
        self._forget_partitions()

    def _on_lost(self, _consumer: Consumer, _lost: list[TopicPartition]) -> None:
        log.warning("The group gave this consumer's partitions away: it was silent for too long")
        self._listener.partitions_go(lost=True)
        self._forget_partitions()

    def _forget_partitions(self) -> None:
        self.assigned = ()
        self.rebalances += 1

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.broker_up = False
        log.warning("Kafka: %s", error.str())

    def _on_statistics(self, text: str) -> None:
        statistics = orjson.loads(text)
        self._watch.update(statistics)
        self.broker_up = self._watch.connected
        found = partition_statuses(statistics).items()
        self.low = {partition: status.low for partition, status in found if status.low is not None}
        self.high = {partition: status.high for partition, status in found if status.high is not None}


def _on_commit(error: KafkaError | None, _offsets: list[TopicPartition]) -> None:
    if error is not None and error.code() != KafkaError._NO_OFFSET:
        log.warning("Offsets were not committed: %s", error.str())


def _wait(answer: Future[_Answer]) -> _Answer:
    return answer.result(_ANSWER_TIMEOUT_S + 0.5)
