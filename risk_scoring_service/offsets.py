"""Offsets that may be committed while some requests are decided and others are pending."""

from collections.abc import Iterable

from gourmetgram.events import Record
from gourmetgram.kafka.partitions import NextOffsets, Partition


class SettledOffsets:
    """Next offsets to commit: per partition, the first one that is not settled.

    A pending request does not delay later ones, but it delays the commit: after a restart everything from it on is read
    again. That is safe, because a repeated decision leaves one row.
    """

    def __init__(self) -> None:
        self._open: dict[Partition, set[int]] = {}
        self._next: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}

    def read(self, record: Record) -> None:
        """Add a record that has been read."""
        partition = Partition.of(record)
        self._open.setdefault(partition, set()).add(record.offset)
        self._next[partition] = record.offset + 1

    def settle(self, records: Iterable[Record]) -> None:
        """Settle records whose row or dead letter is stored, or that need none."""
        for record in records:
            self._open.get(Partition.of(record), set()).discard(record.offset)

    def to_commit(self) -> NextOffsets:
        """Next offset of each partition where it has moved since the last commit."""
        moved = {}
        for partition, end in self._next.items():
            # The minimum, not the first that was read: after a rebalance, reading may start at an earlier offset.
            offset = min(self._open[partition], default=end)
            if self._committed.get(partition) != offset:
                moved[partition] = offset
        return moved

    def committed(self, offsets: NextOffsets) -> None:
        """Record offsets that the broker has confirmed."""
        self._committed.update(offsets)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop the state of partitions that left this member."""
        for partition in partitions:
            for table in (self._open, self._next, self._committed):
                table.pop(partition, None)
