"""Reading a fixed range of Kafka's records, and how far the groups have come.

Nothing here joins a group or commits: looking at a platform must not change it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition, murmur2

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.clients import create_consumer
from gourmetgram.kafka.records import to_record
from gourmetgram.settings import KafkaSettings

Place: TypeAlias = tuple[str, int]
"""Topic and partition."""

_TIMEOUT_S: Final = 10.0
_STALLED_AFTER_S: Final = 20.0
_BATCH: Final = 5_000


class Range(NamedTuple):
    """Records `start` (included) to `end` (excluded) of a partition."""

    start: int
    end: int


class Keyed(NamedTuple):
    """A record and its key."""

    key: bytes | None
    record: Record


def partition_of(key: str, partitions: int) -> int:
    """The partition that every producer of the platform (murmur2) chooses for a key."""
    return murmur2(key.encode(), partitions)


@contextmanager
def reader(settings: KafkaSettings, group: str = "gourmetgram-inspection") -> Iterator[Consumer]:
    """A consumer for `ranges`, `read` and `committed`; naming a group only lets it ask for that group's offsets."""
    consumer = create_consumer(
        settings,
        "gourmetgram-inspection",
        group,
        # A longer queue takes several times its length of memory, and makes nothing faster.
        **{"enable.partition.eof": True, "queued.max.messages.kbytes": 8_192, "fetch.error.backoff.ms": 100},
    )
    try:
        yield consumer
    finally:
        consumer.close()


def ranges(consumer: Consumer, topics: Iterable[str]) -> dict[Place, Range]:
    """What each partition of the topics holds now; a topic that does not exist has none.

    Raises:
        TransientError: the broker did not answer.
    """
    found = {}
    try:
        known = consumer.list_topics(timeout=_TIMEOUT_S).topics
        for topic in topics:
            for partition in known[topic].partitions if topic in known else ():
                place = TopicPartition(topic, partition)
                marks = consumer.get_watermark_offsets(place, timeout=_TIMEOUT_S)
                if marks is None:
                    raise TransientError(f"the broker did not report the offsets of {topic}/{partition}")
                found[topic, partition] = Range(*marks)
    except KafkaException as error:
        raise TransientError(f"the broker did not answer: {error}") from error
    return found


def since(consumer: Consumer, within: Mapping[Place, Range], time_us: int) -> dict[Place, Range]:
    """Shorten ranges to the records whose broker time is `time_us` or later."""
    if not within:
        return {}
    asked = [TopicPartition(topic, partition, time_us // 1000) for topic, partition in within]
    try:
        answers = consumer.offsets_for_times(asked, timeout=_TIMEOUT_S)
    except KafkaException as error:
        raise TransientError(f"the broker did not answer: {error}") from error
    shortened = {}
    for answer in answers:
        place = (answer.topic, answer.partition)
        start, end = within[place]
        # A negative offset says: no record is that young.
        shortened[place] = Range(max(start, answer.offset) if answer.offset >= 0 else end, end)
    return shortened


def read(consumer: Consumer, within: Mapping[Place, Range]) -> Iterator[Keyed]:
    """Every record of the ranges, in offset order within a partition.

    Raises:
        TransientError: the broker stopped answering.
    """
    left = {place: span for place, span in within.items() if span.start < span.end}
    if not left:
        return
    consumer.assign([TopicPartition(topic, partition, span.start) for (topic, partition), span in left.items()])
    missing = sum(span.end - span.start for span in left.values())
    last_progress = time.monotonic()
    while left:
        # Asking for more than there is would wait for the time-out.
        messages = consumer.consume(num_messages=max(1, min(_BATCH, missing)), timeout=0.5)
        if messages:
            last_progress = time.monotonic()
        elif time.monotonic() - last_progress > _STALLED_AFTER_S:
            raise TransientError(f"the broker sent nothing for {_STALLED_AFTER_S:g} s")
        for message in messages:
            place = (cast(str, message.topic()), cast(int, message.partition()))
            if place not in left:
                continue
            span = left[place]
            at_end = _at_end(message)
            offset = cast(int, message.offset())
            if not at_end and offset < span.end:
                missing -= 1
                yield Keyed(message.key(), to_record(message))
            if at_end or offset >= span.end - 1:
                del left[place]
                consumer.incremental_unassign([TopicPartition(*place)])


def _at_end(message: Message) -> bool:
    """Whether this is the client's note that a partition has nothing more, instead of a record."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise TransientError(f"the broker stopped sending: {error.str()}")
