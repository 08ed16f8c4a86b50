"""Committed offsets of a consumer group."""

from collections.abc import Iterable

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import NextOffsets, Partition


def commit_offsets(consumer: Consumer, next_offsets: NextOffsets) -> None:
    """Commit the next offset to read of each partition, and wait for the broker's answer.

    Raises:
        TransientError: the commit failed; the same records may be delivered again.
    """
    if not next_offsets:
        return
    offsets = [TopicPartition(*partition, offset) for partition, offset in next_offsets.items()]
    try:
        answers = consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        raise TransientError(f"offsets were not committed: {error}") from error
    failed = [answer for answer in answers or () if answer.error is not None]
    if failed:
        raise TransientError(f"offsets were not committed: {failed[0].error}")


def committed_offsets(
    consumer: Consumer, partitions: Iterable[Partition], timeout_s: float = 10.0
) -> dict[Partition, int | None]:
    """Committed next offset of each partition; None without a commit.

    Raises:
        TransientError: the broker did not answer for all of them.
    """
    asked = [TopicPartition(*partition) for partition in partitions]
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
        Partition(answer.topic, answer.partition): None if answer.offset == OFFSET_INVALID else answer.offset
        for answer in answers
    }
