"""Reader of fixed ranges of records with their keys; it joins no group and commits nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition, murmur2

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import ANSWER_S, OffsetRange, create_range_reader, read_ranges
from gourmetgram.kafka.records import to_record
from gourmetgram.settings import KafkaSettings

_CLIENT_ID = "gourmetgram-inspection"


class Keyed(NamedTuple):
    """A record and its key."""

    key: bytes | None
    record: Record


def partition_of(key: str, partitions: int) -> int:
    """Partition of a key by murmur2, as in every producer of the platform."""
    return murmur2(key.encode(), partitions)


@contextmanager
def reader(settings: KafkaSettings, group: str = _CLIENT_ID) -> Iterator[Consumer]:
    """A consumer of fixed ranges; a group's name is only for reading the offsets of that group."""
    consumer = create_range_reader(settings, _CLIENT_ID, group)
    try:
        yield consumer
    finally:
        consumer.close()


def since(consumer: Consumer, within: Mapping[Partition, OffsetRange], time_us: int) -> dict[Partition, OffsetRange]:
    """Shorten ranges to the records whose broker time is `time_us` or later.

    Raises:
        TransientError: the broker did not answer.
    """
    if not within:
        return {}
    asked = [TopicPartition(topic, partition, time_us // 1000) for topic, partition in within]
    try:
        answers = consumer.offsets_for_times(asked, timeout=ANSWER_S)
    except KafkaException as error:
        raise TransientError(f"the broker did not answer: {error}") from error
    shortened = {}
    for answer in answers:
        partition = Partition(answer.topic, answer.partition)
        start, end = within[partition]
        # A negative offset means that no record is that young.
        shortened[partition] = OffsetRange(max(start, answer.offset) if answer.offset >= 0 else end, end)
    return shortened


def read(consumer: Consumer, within: Mapping[Partition, OffsetRange]) -> Iterator[Keyed]:
    """Read every record of the ranges, in offset order within a partition.

    Raises:
        RecordsGoneError: the broker no longer has a record of a range.
        TransientError: the broker stopped answering.
    """
    for messages in read_ranges(consumer, within):
        for message in messages:
            yield Keyed(message.key(), to_record(message))
