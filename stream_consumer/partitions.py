"""Where the consumer stands in each partition."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from gourmetgram.kafka.partitions import Partition

TopicPartition: TypeAlias = Partition


def field_of(partition: TopicPartition) -> str:
    """The partition's name in Redis: `<topic>/<partition>`."""
    return f"{partition[0]}/{partition[1]}"


@dataclass(slots=True)
class Progress:
    """What has been applied to Redis, as this process knows it.

    Attributes:
        applied: next offset to apply, per partition; holds exactly the partitions that this process reads.
        read: next offset to read, per partition; ahead of `applied` while a batch is on its way to Redis.
        broker_time_us: broker time of the newest applied record since reading began, per partition.
        read_time_us: broker time of the newest read record since reading began, per partition.
        ends: where each partition ended when reading began.
    """

    applied: dict[TopicPartition, int] = field(default_factory=dict)
    read: dict[TopicPartition, int] = field(default_factory=dict)
    broker_time_us: dict[TopicPartition, int] = field(default_factory=dict)
    read_time_us: dict[TopicPartition, int] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)

    def restart(self, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> None:
        """Stand at these offsets and know nothing about what came before."""
        self.applied = dict(starts)
        self.read = dict(starts)
        self.broker_time_us = {}
        self.read_time_us = {}
        self.ends = dict(ends)

    def floor_us(self, number: int, end_of: Callable[[TopicPartition], int]) -> int | None:
        """The earliest time for which a record that waits in the broker may still ask.

        After a stop, one topic is read hours ahead of another. Until the other has been read too, what its events may
        ask for must be kept.

        Args:
            number: partition number.
            end_of: the newest known end of a partition.

        Returns:
            Microseconds; None when all co-partitions have been read to their ends.
        """
        unread = [
            self.read_time_us.get(partition, 0)
            for partition in self.co_partitions(number)
            if self.read[partition] < max(self.ends.get(partition, 0), end_of(partition))
        ]
        return min(unread, default=None)

    def co_partitions(self, number: int) -> list[TopicPartition]:
        """The partitions of this number in every topic: all that can hold an image's events."""
        return [partition for partition in self.applied if partition[1] == number]
