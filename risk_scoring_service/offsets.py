"""Which offsets may be committed while some requests are decided and others still wait."""

from collections.abc import Iterable

from gourmetgram.events import Record


class Offsets:
    """Per partition: what was read, what is settled, and up to where all is settled.

    A request that waits does not hold up later ones, but it holds back the commit: after a restart everything from
    it on is read again. Decisions made twice leave one row, so that is safe.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], set[int]] = {}
        self._next: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], int] = {}

    def read(self, record: Record) -> None:
        """A record has been read and is open."""
        partition = (record.topic, record.partition)
        self._open.setdefault(partition, set()).add(record.offset)
        self._next[partition] = record.offset + 1

    def settle(self, records: Iterable[Record]) -> None:
        """The row or dead letter of these records is stored, or there is none to store."""
        for record in records:
            self._open.get((record.topic, record.partition), set()).discard(record.offset)

    def to_commit(self) -> dict[tuple[str, int], int]:
        """The next offset to read of each partition where it has moved since the last commit."""
        moved = {}
        for partition, end in self._next.items():
            # Not just the first that was read: after a rebalance a partition may start anew further back.
            offset = min(self._open[partition], default=end)
            if self._committed.get(partition) != offset:
                moved[partition] = offset
        return moved

    def committed(self, offsets: dict[tuple[str, int], int]) -> None:
        """The broker has confirmed these offsets."""
        self._committed.update(offsets)

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Another replica reads these partitions now."""
        for partition in partitions:
            for table in (self._open, self._next, self._committed):
                table.pop(partition, None)
