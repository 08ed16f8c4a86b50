"""The range of a run: which offsets it reads, whether the broker still has them, and reading exactly those."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import is_not, lt
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.kafka.clients import MAKE_TOPICS, client_config, create_consumer
from gourmetgram.lakehouse.progress import EventsProgress, Offsets
from gourmetgram.settings import KafkaSettings

GROUP: Final = "airflow_event_aggregator"
"""Shown to people only: the run assigns its partitions itself and never commits an offset."""

_BATCH: Final = 5_000
_BATCH_WAIT_S: Final = 0.1
_ANSWER_S: Final = 10.0
_SILENCE_S: Final = 30.0
_NO_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"

_START_OVER: Final = (
    "Nothing was read, so nothing is skipped unnoticed. Bring the topic's old data back, or accept the gap by dropping "
    "the tables of event_aggregations; the next run then rebuilds them from what the broker holds."
)


class PartitionRange(NamedTuple):
    """Records [start, end) of a partition."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def records(self) -> int:
        """How many offsets it spans."""
        return self.end - self.start


def create_reader(settings: KafkaSettings) -> Consumer:
    """A consumer for one run."""
    return create_consumer(
        settings,
        "gourmetgram-aggregation",
        GROUP,
        **{
            "enable.partition.eof": True,
            # An offset that retention took away between the look and the read is an error, not a jump.
            "auto.offset.reset": "error",
            # Compressed bytes a partition and request: what is fetched is kept whole, decompressed, until it is read.
            "fetch.message.max.bytes": 131_072,
            "queued.max.messages.kbytes": 4_096,
            "queued.min.messages": 20_000,
            # With so little ahead, more is asked for at once when there is room, not a second later.
            "fetch.queue.backoff.ms": 10,
        },
    )


def topic_ids(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, str]:
    """The broker's id of each topic, where it has such ids: a topic that is deleted and made again gets another.

    Raises:
        KafkaException: the broker is away.
    """
    admin = AdminClient(client_config(settings, "gourmetgram-aggregation"))
    ids = {}
    for topic, answer in admin.describe_topics(TopicCollection(list(topics)), request_timeout=_ANSWER_S).items():
        try:
            ids[topic] = str(answer.result().topic_id)
        except KafkaException as error:
            # Missing topics are named by `plan_ranges`.
            if error.args[0].code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNSUPPORTED_FEATURE):
                raise
    return {topic: topic_id for topic, topic_id in ids.items() if topic_id != _NO_TOPIC_ID}


def plan_ranges(
    consumer: Consumer, topics: Iterable[str], progress: EventsProgress | None, ids: dict[str, str]
) -> list[PartitionRange]:
    """Freeze the end offsets, and check that everything between the last run's offsets and them is still there.

    Args:
        consumer: an unassigned consumer.
        topics: what to read.
        progress: what earlier runs have read; None = nothing.
        ids: the topics' ids, as far as known.

    Raises:
        PermanentError: a topic is missing, was recreated, or lost records that were not read yet.
        TransientError: the broker did not answer.
    """
    ranges = []
    for topic in topics:
        stored = progress.offsets.get(topic, {}) if progress else {}
        partitions = _partitions(consumer, topic)
        _refuse_recreated(topic, progress, ids, stored, partitions)
        for partition in partitions:
            low, end = _watermarks(consumer, topic, partition)
            start = stored.get(partition, low)
            _refuse_gap(PartitionRange(topic, partition, start, end), low)
            ranges.append(PartitionRange(topic, partition, start, end))
    return ranges


def next_offsets(ranges: Iterable[PartitionRange], progress: EventsProgress | None) -> Offsets:
    """The offsets that a run leaves behind: the ends of its ranges; topics it did not look at stay as they were."""
    offsets = {topic: dict(partitions) for topic, partitions in progress.offsets.items()} if progress else {}
    for item in ranges:
        offsets.setdefault(item.topic, {})[item.partition] = item.end
    return offsets


def read_ranges(consumer: Consumer, ranges: Iterable[PartitionRange]) -> Iterator[list[Message]]:
    """Read exactly these records, in batches of any partitions' messages.

    Raises:
        PermanentError: the broker no longer has a record of the range.
        TransientError: the broker went away.
    """
    ends = {(item.topic, item.partition): item for item in ranges if item.records > 0}
    consumer.assign([TopicPartition(item.topic, item.partition, item.start) for item in ends.values()])
    heard = time.monotonic()
    try:
        while ends:
            messages = consumer.consume(_BATCH, _BATCH_WAIT_S)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                waiting = ", ".join(f"{topic}/{partition}" for topic, partition in ends)
                raise TransientError(f"the broker sent nothing for {_SILENCE_S:g} s; still to read: {waiting}")
            batch = _within_ranges(messages, ends, consumer)
            if batch:
                yield batch
    finally:
        consumer.unassign()


def _within_ranges(
    messages: list[Message], ends: dict[tuple[str, int], PartitionRange], consumer: Consumer
) -> list[Message]:
    """The messages that belong to the ranges; a partition that is read to its end is taken from `ends`."""
    if _all_inside(messages, ends):
        return messages
    batch = []
    finished = []
    for message in messages:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise _read_error(message, error, ends)
        place = (message.topic(), message.partition())
        item = ends.get(place)  # type: ignore[arg-type] # consumed messages have both
        if item is None:
            continue  # Later than the range, fetched ahead.
        offset: int = message.offset()  # type: ignore[assignment]
        if error is None and offset < item.end:
            batch.append(message)
        # The last offsets of a range may hold no message (markers of transactions): the end of the partition tells.
        if offset >= item.end - (error is None):
            finished.append(TopicPartition(item.topic, item.partition))
            del ends[item.topic, item.partition]
    if finished:
        consumer.pause(finished)
    return batch


class _LastOffsets(dict[tuple[str, int], int]):
    def __missing__(self, _place: tuple[str, int]) -> int:
        return -1


def _all_inside(messages: list[Message], ends: dict[tuple[str, int], PartitionRange]) -> bool:
    """Whether all are messages before the last ones of their ranges, as in nearly every batch.

    Without a line of Python for each: what looks at each of them takes seven times as long.
    """
    # Not by comparing: a KafkaError that is compared with None breaks something in its library.
    if any(map(is_not, map(Message.error, messages), repeat(None))):
        return False
    last = _LastOffsets((place, item.end - 1) for place, item in ends.items())
    places = zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)
    lasts = map(last.__getitem__, places)  # type: ignore[arg-type] # consumed messages have both
    return all(map(lt, map(Message.offset, messages), lasts))  # type: ignore[arg-type] # and an offset


def _read_error(
    message: Message, error: KafkaError, ends: dict[tuple[str, int], PartitionRange]
) -> PermanentError | TransientError:
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        item = ends.get((message.topic() or "", message.partition() or 0))
        return PermanentError(
            f"{message.topic()}/{message.partition()}: the broker deleted records of [{item.start}, {item.end}) while "
            f"they were read. {_START_OVER}"
            if item
            else f"a partition lost records while it was read: {error.str()}"
        )
    return TransientError(f"the broker reported an error while records were read: {error.str()}")


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    metadata = consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic]
    if metadata.error is not None or not metadata.partitions:
        raise PermanentError(f"topic {topic} does not exist: create the topics with {MAKE_TOPICS}, then run again")
    return sorted(metadata.partitions)


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    answer = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ANSWER_S)
    if answer is None:
        raise TransientError(f"the broker did not report the offsets of {topic}/{partition} within {_ANSWER_S:g} s")
    low, end = answer
    return low, end


def _refuse_recreated(
    topic: str, progress: EventsProgress | None, ids: dict[str, str], stored: dict[int, int], partitions: list[int]
) -> None:
    known = progress.topic_ids.get(topic) if progress else None
    if known is not None and topic in ids and ids[topic] != known:
        raise PermanentError(
            f"topic {topic} was deleted and created again (its id was {known}, now it is {ids[topic]}): the stored "
            f"offsets {stored} are those of the old one. {_START_OVER}"
        )
    missing = sorted(set(stored) - set(partitions))
    if missing:
        raise PermanentError(
            f"{topic}/{missing[0]}: the partition is gone, but offset {stored[missing[0]]} was stored for it: the "
            f"topic was created again with fewer partitions. {_START_OVER}"
        )


def _refuse_gap(item: PartitionRange, low: int) -> None:
    place = f"{item.topic}/{item.partition}"
    if item.start > item.end:
        raise PermanentError(
            f"{place}: the stored offset {item.start} is beyond the topic's end {item.end}: the topic was deleted and "
            f"created again. {_START_OVER}"
        )
    if item.start < low:
        raise PermanentError(
            f"{place}: offsets [{item.start}, {low}) were not read yet and are gone from the broker, which now begins "
            f"at {low} (retention). {_START_OVER}"
        )
