"""Start offsets: Redis knows the applied offsets, the broker the records that it still holds."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gourmetgram.kafka.partitions import Partition
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


class AssignedSource(Protocol):
    """The source of events as the alignment needs it; see `EventSource`."""

    @property
    def assigned(self) -> tuple[Partition, ...]:
        """Partitions that the group has assigned to this process."""

    def committed(self, of: Sequence[Partition]) -> dict[Partition, int | None]:
        """Offsets that the group has committed, by a request to the broker; None without one."""

    def read_from(self, starts: Mapping[Partition, int]) -> None:
        """Begin to read at these offsets."""


class BrokerLimits(Protocol):
    """Limits of partitions; see `BrokerOffsets`."""

    def limits(self, of: Sequence[Partition]) -> dict[Partition, PartitionLimits]:
        """Limits of partitions, by a request to the broker."""


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

    def start(self, offsets: Mapping[Partition, int], origins: Mapping[Partition, str]) -> None:
        """Write first offsets and identities."""


class Alignment:
    """Keeps the positions of this process equal to those in Redis.

    Args:
        source: source of events.
        broker: limits of the partitions.
        store: offsets in Redis.
        progress: positions of this process.
    """

    def __init__(
        self, source: AssignedSource, broker: BrokerLimits, store: AppliedOffsets, progress: StreamProgress
    ) -> None:
        self._source = source
        self._broker = broker
        self._store = store
        self._progress = progress

    def align(self) -> None:
        """Begin to read all assigned partitions at the offsets in Redis.

        This is the one recovery from all cases: an assignment, an outage, a lost answer, a Redis that lost its latest
        writes.

        Raises:
            TransientError: Redis or the broker did not answer, or the topics have different numbers of partitions.
        """
        self._store.tune()
        assigned = self._source.assigned
        stored, origins = self._store.offsets(assigned), self._store.origins(assigned)
        limits = self._broker.limits(assigned)
        forgotten = [each for each in assigned if stored[each] is None and origins[each] is not None]
        committed = self._source.committed(forgotten) if forgotten else {}
        starts = {
            each: decide_start(stored[each], origins[each], limits[each], committed.get(each)) for each in assigned
        }
        for partition, start in starts.items():
            if start.warning:
                log.warning("%s: %s", partition, start.warning)
        moved = {partition: start.offset for partition, start in starts.items() if start.offset != stored[partition]}
        named = {partition: limits[partition].origin for partition in assigned}
        self._store.start(moved, {name: origin for name, origin in named.items() if origin != origins[name]})
        offsets = {partition: start.offset for partition, start in starts.items()}
        self._progress.restart(offsets, {partition: limits[partition].high for partition in assigned})
        self._source.read_from(offsets)

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
    stored: int | None, stored_origin: str | None, limits: PartitionLimits, committed: int | None = None
) -> StartOffset:
    """Decide the start of one partition.

    Args:
        stored: next offset in Redis. Without one and without an origin, all state is built again from the events. That
            changes no decision, because the id of a request follows from its event.
        stored_origin: identity of the topic that `stored` belongs to.
        limits: the partition's limits on the broker.
        committed: offset that the group has committed. It takes the place of an offset that was deleted in Redis while
            the state stayed: totals would be counted twice from the beginning. It may lie a little behind; the ids of
            events that were applied lately are known.
    """
    if stored_origin is not None and _is_other_topic(stored_origin, limits.origin):
        return StartOffset(limits.low, "this topic was created again; reading it from its beginning")
    if stored is None and stored_origin is not None and committed is not None:
        again = decide_start(committed, stored_origin, limits)
        lost = f"its offset was deleted in Redis; continuing at {again.offset}, as committed in Kafka"
        return StartOffset(again.offset, f"{lost}; {again.warning}" if again.warning else lost)
    if stored is None:
        return StartOffset(limits.low)
    if stored > limits.high:
        lost = f"the broker ends at {limits.high} and has lost records up to {stored}, which were applied"
        return StartOffset(limits.high, f"{lost}; continuing at its end")
    if stored < limits.low:
        gone = f"records {stored} to {limits.low - 1} were deleted before they were applied"
        return StartOffset(limits.low, f"{gone}; continuing at {limits.low}")
    return StartOffset(stored)


def _is_other_topic(stored: str, current: str) -> bool:
    # Identities of different sorts cannot be compared: a broker update brought topic ids.
    same_sort = stored.partition(":")[0] == current.partition(":")[0]
    return same_sort and stored != current
