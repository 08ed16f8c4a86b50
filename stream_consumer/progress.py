"""Positions of this process in the partitions that it reads."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from gourmetgram.kafka.partitions import Partition
from stream_consumer.batch import BatchSpan

log = logging.getLogger(__name__)


@dataclass(slots=True)
class StreamProgress:
    """Offsets and times as this process knows them; Redis holds the truth.

    Attributes:
        applied: next offset to apply, per partition; holds exactly the partitions that this process reads.
        read: next offset to read, per partition; ahead of `applied` while a batch is in flight.
        broker_time_us: broker time of the newest applied record since reading began, per partition.
        read_time_us: broker time of the newest read record since reading began, per partition.
        ends: end of each partition when reading began.
        unread_since_us: broker time of the first unread record when reading began, where there was one.
    """

    applied: dict[Partition, int] = field(default_factory=dict)
    read: dict[Partition, int] = field(default_factory=dict)
    broker_time_us: dict[Partition, int] = field(default_factory=dict)
    read_time_us: dict[Partition, int] = field(default_factory=dict)
    ends: dict[Partition, int] = field(default_factory=dict)
    unread_since_us: dict[Partition, int] = field(default_factory=dict)
    _co_partitions: dict[int, list[Partition]] = field(default_factory=dict)

    def restart(self, starts: Mapping[Partition, int], ends: Mapping[Partition, int]) -> None:
        """Start at these offsets, without memory of earlier records."""
        self.applied = dict(starts)
        self._co_partitions = {}
        for partition in starts:
            self._co_partitions.setdefault(partition.number, []).append(partition)
        self.read = dict(starts)
        self.broker_time_us = {}
        self.read_time_us = {}
        self.ends = dict(ends)
        self.unread_since_us = {}

    def follows(self, spans: Mapping[Partition, BatchSpan]) -> bool:
        """True when the spans of a batch continue at the read offsets; a gap is logged and accepted."""
        for partition, span in spans.items():
            expected = self.read.get(partition)
            if expected is None or span.start < expected:
                return False
            if span.start > expected:
                log.warning(
                    "%s: offsets %d to %d were not delivered: deleted before they were applied, or without messages",
                    partition,
                    expected,
                    span.start - 1,
                )
        return True

    def read_on(self, spans: Mapping[Partition, BatchSpan]) -> dict[Partition, tuple[int, int]]:
        """Move past the records of a batch that is read.

        Returns:
            Per partition, the offset before the batch and the next one after it.
        """
        positions = {partition: (self.read[partition], span.end) for partition, span in spans.items()}
        for partition, span in spans.items():
            self.read[partition] = span.end
            self.read_time_us[partition] = span.broker_time_us
        return positions

    def apply_on(self, spans: Mapping[Partition, BatchSpan]) -> None:
        """Move past the records of a batch that is applied."""
        for partition, span in spans.items():
            self.applied[partition] = span.end
            self.broker_time_us[partition] = span.broker_time_us

    def co_partitions(self, number: int) -> list[Partition]:
        """Partitions of this number in every topic: all that can hold an image's events."""
        return self._co_partitions.get(number, [])
