"""Retention of windows beyond their width, while unread events may still need their counts.

After a stop, one topic is read hours ahead of another. An event of the other topic may then raise a request whose
counts lie further back than the newest window. So windows are kept back to the retention horizon: the oldest event
time whose counts an unread event may still need.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol

from gourmetgram.kafka.partitions import Partition
from stream_consumer.batch import EligibleEvent
from stream_consumer.progress import StreamProgress

_TRIM_AT_ONCE: Final = 500


class KnownEnds(Protocol):
    """Ends of partitions in the last answers of the broker."""

    def known_end(self, partition: Partition) -> int:
        """Next offset of a partition, without a request; negative when it is not known."""


class WindowTrimmer(Protocol):
    """Trims windows in Redis; see `ServerBatches`."""

    def trim(self, images: Sequence[str]) -> None:
        """Trim the windows of images."""


class WindowRetention:
    """Finds the retention horizons, and trims windows that were kept longer once all records are read.

    Args:
        progress: positions of this process.
        ends: ends of the partitions.
        trimmer: trims windows.
    """

    def __init__(self, progress: StreamProgress, ends: KnownEnds, trimmer: WindowTrimmer) -> None:
        self._progress = progress
        self._ends = ends
        self._trimmer = trimmer
        self._held: dict[int, set[str]] = {}

    def horizon_us(self, number: int) -> int | None:
        """Retention horizon of a partition number, microseconds; None when its co-partitions are read to their ends."""
        progress = self._progress
        unread = [
            progress.read_time_us.get(partition, 0)
            for partition in progress.co_partitions(number)
            if progress.read[partition] < max(progress.ends.get(partition, 0), self._ends.known_end(partition))
        ]
        return min(unread, default=None)

    def horizons(self, numbers: Iterable[int]) -> dict[int, int]:
        """Retention horizon of each partition number that has one."""
        found = {number: self.horizon_us(number) for number in numbers}
        return {number: horizon_us for number, horizon_us in found.items() if horizon_us is not None}

    def hold(self, events: Iterable[EligibleEvent], horizons: Mapping[int, int]) -> None:
        """Record the images whose windows a batch keeps longer than their width."""
        if not horizons:
            return
        for event, record in events:
            if horizons.get(record.partition, event.time_us) < event.time_us:
                self.keep(record.partition, event.image_id)

    def keep(self, number: int, image_id: str) -> None:
        """Record an image whose windows are kept longer than their width, until `trim`."""
        self._held.setdefault(number, set()).add(image_id)

    def trim(self) -> None:
        """Trim windows that no unread event needs any more: at most 500 of each partition number.

        Raises:
            RedisUnavailableError: Redis did not answer; the next call trims them.
        """
        if not self._held:
            return
        for number in set(self._held) - set(self.horizons(self._held)):
            images = self._held[number]
            now = list(islice(images, _TRIM_AT_ONCE))
            self._trimmer.trim(now)
            images.difference_update(now)
            if not images:
                del self._held[number]

    def forget(self) -> None:
        """Drop all images: the partitions are gone."""
        self._held.clear()
