"""Names of partitions, and positions in them."""

from typing import NamedTuple, Self

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


class Position(NamedTuple):
    """Place of one record. The text form is `<topic>/<number>@<offset>`."""

    partition: Partition
    offset: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """Position of a record."""
        return cls(Partition.of(record), record.offset)

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"
