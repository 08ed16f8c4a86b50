"""The consumer of the moderation topic, and its view of the broker."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from gourmetgram.errors import PlatformError, TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.clients import create_consumer
from gourmetgram.kafka.offsets import commit_offsets, committed_offsets
from gourmetgram.kafka.partitions import NextOffsets, Partition
from gourmetgram.kafka.records import to_record
from gourmetgram.kafka.status import BrokerWatch, ClientStatistics, partition_statuses
from gourmetgram.settings import KafkaSettings
from risk_scoring_service import metrics

log = logging.getLogger(__name__)

CLIENT_ID: Final = "gourmetgram-risk-scoring-service"

ANSWER_TIMEOUT_S: Final = 2.0
"""Longest wait for the committed offsets, seconds: it keeps a stop short while the broker stalls."""


class RequestSource:
    """Reads the moderation topic as a member of the group.

    Args:
        settings: address of the broker, and name of the topic.
        group: the consumer group.
    """

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._paused = False
        self._ours: set[Partition] = set()
        self._started = True
        self._watch = BrokerWatch()
        self._topic = settings.moderation_topic
        self._consumer: Consumer = create_consumer(
            settings,
            CLIENT_ID,
            group,
            **{
                # A topic that is created after the start is found within seconds.
                "topic.metadata.refresh.interval.ms": 5_000,
                **self._watch.config(self._report_lag),
            },
        )

    @property
    def connected(self) -> bool:
        """True while the client is connected to the cluster; see `BrokerWatch`."""
        return self._watch.connected

    def subscribe(self, on_lost: Callable[[Iterable[Partition]], None]) -> None:
        """Join the group.

        Args:
            on_lost: called, from within `poll` and `close`, with partitions that this replica no longer reads.
        """

        def revoked(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
            for item in partitions:
                metrics.LAG.labels(item.partition).set(0)
            lost = {Partition(item.topic, item.partition) for item in partitions}
            self._ours -= lost
            on_lost(lost)

        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=revoked, on_lost=revoked)

    def poll(self, most: int, timeout_s: float) -> list[Record]:
        """Poll for records. Returns at once if some are there, else with the first to arrive within the timeout.

        Also keeps the membership of the group alive; may be called while paused.

        Raises:
            PlatformError: the consumer cannot recover; only a new process can help.
        """
        self._watch.check()
        if not self._started:
            self._start()
        if self._paused:
            # A rebalance may have assigned partitions that are not paused yet.
            self._consumer.pause(self._consumer.assignment())
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(most - 1, timeout=0)] if most > 1 else [first]
        records = [to_record(message) for message in messages if _usable(message)]
        # A rebalance may happen inside a call; records of revoked partitions belong to another replica.
        return [record for record in records if Partition.of(record) in self._ours]

    def pause(self, paused: bool) -> None:
        """Stop or resume fetching. A few records may still come after a pause."""
        if paused != self._paused:
            self._paused = paused
            if not paused:
                self._consumer.resume(self._consumer.assignment())

    def commit(self, next_offsets: NextOffsets) -> None:
        """See `commit_offsets`."""
        commit_offsets(self._consumer, next_offsets)

    def close(self) -> None:
        """Leave the group, so that another replica takes over at once."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._ours |= {Partition(item.topic, item.partition) for item in partitions}
        # Not left to the client: it asks once for the committed offsets. If that fails, as it may while a broker
        # returns, the client reports it and never reads these partitions.
        consumer.assign([])
        self._started = False

    def _start(self) -> None:
        """Read the assigned partitions from the committed offsets on; without an answer the next poll tries again."""
        try:
            committed = committed_offsets(self._consumer, self._ours, ANSWER_TIMEOUT_S)
        except TransientError as error:
            log.warning("Not reading yet: %s", error)
            return
        starts = [
            TopicPartition(*partition, OFFSET_BEGINNING if offset is None else offset)
            for partition, offset in committed.items()
        ]
        self._consumer.assign(starts)
        # A partition that is revoked while paused comes back paused, and `pause(False)` could not reach it in between.
        self._consumer.resume(starts)
        self._started = True
        log.info("Reading %s, partitions %s", self._topic, sorted(partition.number for partition in committed))

    def _report_lag(self, statistics: ClientStatistics) -> None:
        for partition, status in partition_statuses(statistics).items():
            if partition.topic == self._topic and status.lag is not None:
                metrics.LAG.labels(partition.number).set(status.lag)


def _usable(message: Message) -> bool:
    """False for errors, which the client reports as messages, too."""
    error = message.error()
    if error is None:
        return True
    if error.fatal():
        raise PlatformError(f"the Kafka consumer cannot go on: {error.str()}") from KafkaException(error)
    # The client repeats it until it works; the topic may be created later.
    level = logging.WARNING if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART else logging.INFO
    log.log(level, "Kafka: %s", error.str())
    return False
