"""Where the consumer stands in each partition."""

from dataclasses import dataclass, field
from typing import TypeAlias

TopicPartition: TypeAlias = tuple[str, int]
"""Topic and partition number."""


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
    """

    applied: dict[TopicPartition, int] = field(default_factory=dict)
    read: dict[TopicPartition, int] = field(default_factory=dict)
    broker_time_us: dict[TopicPartition, int] = field(default_factory=dict)

    def restart(self, starts: dict[TopicPartition, int]) -> None:
        """Stand at these offsets and know nothing about what came before."""
        self.applied = dict(starts)
        self.read = dict(starts)
        self.broker_time_us = {}

    def co_partitions(self, number: int) -> list[TopicPartition]:
        """The partitions of this number in every topic: all that can hold an image's events."""
        return [partition for partition in self.applied if partition[1] == number]
