"""Age of the oldest unread event: unlike a number of records, it grows while nothing moves."""

from collections.abc import Callable, Mapping

from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.status import PartitionStatus
from gourmetgram.moments import SECOND_US, now_us
from stream_consumer.progress import StreamProgress


class UnreadAge:
    """Upper bound of the time for which the broker has held the oldest event that is not applied.

    An event that waits is younger than the last applied one, and younger than the last moment without unread events.

    Args:
        progress: positions of this process.
        clock: now, microseconds.
    """

    def __init__(self, progress: StreamProgress, clock: Callable[[], int] = now_us) -> None:
        self._progress = progress
        self._clock = clock
        self._caught_up_us: dict[Partition, int] = {}
        self._since_us: int | None = None

    def look(self, statuses: Mapping[Partition, PartitionStatus]) -> None:
        """Take the ends of the partitions."""
        now = self._clock()
        unread = []
        for partition, offset in self._progress.applied.items():
            status = statuses.get(partition)
            if status is None or status.high is None:
                continue
            if status.high <= offset:
                self._caught_up_us[partition] = now
            else:
                known_us = max(self._applied_us(partition), self._caught_up_us.get(partition, 0))
                unread.append(known_us or self._caught_up_us.setdefault(partition, now))
        self._since_us = min(unread, default=None)

    def seconds(self) -> float:
        """The age now; 0 when no event waits."""
        # Read once: the thread of the metrics page asks.
        since_us = self._since_us
        return 0.0 if since_us is None else max(0, self._clock() - since_us) / SECOND_US

    def _applied_us(self, partition: Partition) -> int:
        """Broker time of the last applied record, or of the first record that waited when reading began."""
        progress = self._progress
        return progress.broker_time_us.get(partition) or progress.unread_since_us.get(partition, 0)
