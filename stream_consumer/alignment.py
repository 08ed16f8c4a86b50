"""Start offsets: Redis knows the applied offsets, the broker the records that it still holds."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from gourmetgram.errors import PlatformError
from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.moments import now_us
from stream_consumer.continuity import LastRecord, read_again_from_us
from stream_consumer.progress import StreamProgress

log = logging.getLogger(__name__)


class PartitionLimits(NamedTuple):
    """Limits of a partition on the broker.

    Attributes:
        low: first offset.
        high: next offset.
        origin: `<sort>:<id>`, identity of the topic behind the name: a topic that is created again has another one.
    """

    low: int
    high: int
    origin: str


class StartOffset(NamedTuple):
    """Start of one partition.

    Attributes:
        offset: first record to read; the offset in Redis is set to it.
        warning: a sentence for the log, or None.
    """

    offset: int
    warning: str | None = None


class StoredPosition(NamedTuple):
    """Position of a partition in Redis; None for each fact that it lacks.

    Attributes:
        offset: next offset to apply.
        origin: identity of the topic that the offset belongs to.
        last: the last applied record.
    """

    offset: int | None
    origin: str | None
    last: LastRecord | None = None

    @property
    def last_before(self) -> LastRecord | None:
        """The last applied record, if it is the one before the next offset."""
        return self.last if self.last is not None and self.last.offset + 1 == self.offset else None

    def is_of(self, limits: PartitionLimits) -> bool:
        """True unless the offset belongs to an earlier topic of the same name."""
        # Identities of different sorts cannot be compared: a broker update brought topic ids.
        if self.origin is None or self.origin.partition(":")[0] != limits.origin.partition(":")[0]:
            return True
        return self.origin == limits.origin

    def is_lost(self, limits: PartitionLimits, beside: Mapping[int, Record]) -> bool:
        """True when the broker no longer has the last applied record, although its retention did not delete it.

        Args:
            limits: limits of the partition.
            beside: records of the broker, by offset.
        """
        if self.offset is None:
            return False
        if self.offset > limits.high:
            return True
        record = beside.get(self.offset - 1)
        return record is not None and self.last_before not in (None, LastRecord.of(record))


class AssignedSource(Protocol):
    """The source of events as the alignment needs it; see `EventSource`."""

    @property
    def assigned(self) -> tuple[Partition, ...]:
        """Partitions that the group has assigned to this process."""

    def committed(self, of: Sequence[Partition]) -> dict[Partition, int | None]:
        """Offsets that the group has committed, by a request to the broker; None without one."""

    def read_from(self, starts: Mapping[Partition, int]) -> None:
        """Begin to read at these offsets."""


class BrokerPositions(Protocol):
    """Positions on the broker; see `BrokerOffsets`."""

    def limits(self, of: Sequence[Partition]) -> dict[Partition, PartitionLimits]:
        """Limits of partitions, by a request to the broker."""

    def since(self, times_us: Mapping[Partition, int]) -> dict[Partition, int]:
        """First offset of each partition whose record the broker stored at this time or later; else its end."""


class RecordReading(Protocol):
    """Reads fixed ranges; see `RangeReader`."""

    def read(self, ranges: Mapping[Partition, OffsetRange]) -> Iterator[list[Record]]:
        """Read the records of ranges."""


class AppliedOffsets(Protocol):
    """Offsets in Redis; see `OffsetStore`."""

    def tune(self) -> None:
        """Set up the server."""

    def ping(self) -> None:
        """Check that Redis answers."""

    def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        """Next offset to apply of each partition."""

    def origins(self, partitions: Sequence[Partition]) -> dict[Partition, str | None]:
        """Identity of the topic that each offset belongs to."""

    def last_records(self, partitions: Sequence[Partition]) -> dict[Partition, LastRecord | None]:
        """Last applied record of each partition."""

    def start(self, offsets: Mapping[Partition, int], origins: Mapping[Partition, str]) -> None:
        """Write first offsets and identities."""


class Alignment:
    """Keeps the positions of this process equal to those in Redis.

    Args:
        source: source of events.
        broker: positions on the broker.
        reader: reads single records.
        store: offsets in Redis.
        progress: positions of this process.
        remembered_us: time for which the ids of applied events are remembered, microseconds.
        clock: now, microseconds.
    """

    def __init__(
        self,
        source: AssignedSource,
        broker: BrokerPositions,
        reader: RecordReading,
        store: AppliedOffsets,
        progress: StreamProgress,
        remembered_us: int,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._source = source
        self._broker = broker
        self._reader = reader
        self._store = store
        self._progress = progress
        self._remembered_us = remembered_us
        self._clock = clock
        self._has_read = False

    def align(self) -> None:
        """Set the positions of this process to those in Redis, and those in Redis to what the broker still has.

        This is the one recovery from all cases: an assignment, an outage, a lost answer, a Redis or a broker that lost
        its latest writes. Reading starts with `begin`.

        Raises:
            TransientError: Redis or the broker did not answer, or the topics have different numbers of partitions.
            PlatformError: the broker lost records while this process was reading; only a new process can help.
        """
        self._store.tune()
        assigned = self._source.assigned
        stored = self._stored(assigned)
        limits = self._broker.limits(assigned)
        forgotten = [each for each in assigned if stored[each].offset is None and stored[each].origin is not None]
        committed = self._source.committed(forgotten) if forgotten else {}
        beside = self._records_beside(stored, limits)
        cuts = self._cuts(stored, limits, beside)
        if cuts and self._has_read:
            # Clients keep the newest leader epoch that they have seen, and refuse a log that is older than that.
            raise PlatformError(
                f"{min(cuts)}: the broker has lost records that were read; only a new process can read its older log"
            )
        starts = {
            each: decide_start(stored[each], limits[each], committed.get(each), cuts.get(each)) for each in assigned
        }
        for partition, start in starts.items():
            if start.warning:
                log.warning("%s: %s", partition, start.warning)
        offsets = {partition: start.offset for partition, start in starts.items()}
        self._store.start(
            {each: offset for each, offset in offsets.items() if offset != stored[each].offset},
            {each: limits[each].origin for each in assigned if limits[each].origin != stored[each].origin},
        )
        self._progress.restart(offsets, {partition: limits[partition].high for partition in assigned})
        self._progress.unread_since_us = {
            each: records[offsets[each]].broker_time_us for each, records in beside.items() if offsets[each] in records
        }

    def begin(self) -> None:
        """Begin to read all assigned partitions at the aligned offsets."""
        self._has_read = True
        self._source.read_from(self._progress.applied)

    def _stored(self, assigned: Sequence[Partition]) -> dict[Partition, StoredPosition]:
        offsets, origins = self._store.offsets(assigned), self._store.origins(assigned)
        last = self._store.last_records(assigned)
        return {each: StoredPosition(offsets[each], origins[each], last[each]) for each in assigned}

    def _records_beside(
        self, stored: Mapping[Partition, StoredPosition], limits: Mapping[Partition, PartitionLimits]
    ) -> dict[Partition, dict[int, Record]]:
        """Records before and at each next offset, by offset, as far as the broker has them."""
        ranges = {}
        for partition, (low, high, _origin) in limits.items():
            offset = stored[partition].offset
            at = low if offset is None else offset
            ranges[partition] = OffsetRange(max(low, at - 1), min(at + 1, high))
        found: dict[Partition, dict[int, Record]] = {partition: {} for partition in limits}
        for records in self._reader.read(ranges):
            for record in records:
                found[Partition.of(record)][record.offset] = record
        return found

    def _cuts(
        self,
        stored: Mapping[Partition, StoredPosition],
        limits: Mapping[Partition, PartitionLimits],
        beside: Mapping[Partition, Mapping[int, Record]],
    ) -> dict[Partition, int]:
        """Offsets from which to read again, for partitions whose last applied record the broker has lost."""
        remembered_from_us = self._clock() - self._remembered_us
        times_us = {
            partition: read_again_from_us(position.last_before, remembered_from_us)
            for partition, position in stored.items()
            if position.is_of(limits[partition]) and position.is_lost(limits[partition], beside[partition])
        }
        return self._broker.since(times_us) if times_us else {}

    def holds(self) -> bool:
        """True if Redis has the same offsets as this process.

        They differ after a restore, a flush or a restart of Redis.

        Raises:
            TransientError: Redis did not answer.
        """
        applied = self._progress.applied
        if applied:
            return self._store.offsets(list(applied)) == applied
        self._store.ping()
        return True


def decide_start(
    stored: StoredPosition, limits: PartitionLimits, committed: int | None = None, cut: int | None = None
) -> StartOffset:
    """Decide the start of one partition.

    Args:
        stored: the position in Redis. Without an offset and without an origin, all state is built again from the
            events. That changes no decision, because the id of a request follows from its event.
        limits: the partition's limits on the broker.
        committed: offset that the group has committed. It takes the place of an offset that was deleted in Redis while
            the state stayed: totals would be counted twice from the beginning. It may lie a little behind; the ids of
            events that were applied lately are known.
        cut: offset from which to read again, when the broker has lost the last applied record.
    """
    offset = stored.offset
    if not stored.is_of(limits):
        return StartOffset(limits.low, "this topic was created again; reading it from its beginning")
    if offset is None and stored.origin is not None and committed is not None:
        again = decide_start(stored._replace(offset=committed), limits)
        lost = f"its offset was deleted in Redis; continuing at {again.offset}, as committed in Kafka"
        return StartOffset(again.offset, f"{lost}; {again.warning}" if again.warning else lost)
    if offset is None:
        return StartOffset(limits.low)
    if cut is not None or offset > limits.high:
        again_at = max(limits.low, min(limits.high if cut is None else cut, offset, limits.high))
        return StartOffset(
            again_at,
            f"the broker has lost records before offset {offset}, which were applied; its log now ends at "
            f"{limits.high}. Reading it again from {again_at}; events that were counted before are not counted again",
        )
    if offset < limits.low:
        gone = f"records {offset} to {limits.low - 1} were deleted before they were applied"
        return StartOffset(limits.low, f"{gone}; continuing at {limits.low}")
    return StartOffset(offset)
