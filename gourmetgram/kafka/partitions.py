"""Names of partitions, and positions in them."""

from collections.abc import Mapping
from typing import NamedTuple, Self, TypeAlias

from gourmetgram.events import Record


class Partition(NamedTuple):
    """One partition of a topic. The text form is `<topic>/<number>`."""

    topic: str
    number: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """Partition of a record."""
        return cls(record.topic, record.partition)

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


NextOffsets: TypeAlias = Mapping[Partition, int]
"""Next offset to read of each partition: one more than that of the last record that counts as done."""


class Position(NamedTuple):
    """Position of one record."""

    partition: Partition
    offset: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """Position of a record."""
        return cls(Partition.of(record), record.offset)
