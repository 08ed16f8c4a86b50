"""The last applied record of a partition, kept beside its offset: the next start compares it with the broker's.

The rule of `gourmetgram.kafka.continuity`, and the place at which reading starts again after a loss.
"""

from typing import NamedTuple, Self

from gourmetgram.events import Record
from gourmetgram.kafka.continuity import fingerprint
from gourmetgram.moments import HOUR_US

_OVERLAP_US = HOUR_US


class LastRecord(NamedTuple):
    """The last applied record of a partition. The text form is `<offset> <broker time> <fingerprint>`."""

    offset: int
    broker_time_us: int
    fingerprint: str

    @classmethod
    def of(cls, record: Record) -> Self:
        """Facts about a record."""
        mark = fingerprint(record.offset, record.broker_time_us // 1_000, None, record.value)
        return cls(record.offset, record.broker_time_us, mark)

    @classmethod
    def parse(cls, text: bytes) -> Self | None:
        """Inverse of `str`; None when the text has another form (changed by hand)."""
        try:
            offset, broker_time_us, mark = text.decode().split(" ")
            return cls(int(offset), int(broker_time_us), mark)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.offset} {self.broker_time_us} {self.fingerprint}"


def read_again_from_us(last: LastRecord | None, remembered_from_us: int) -> int:
    """Broker time from which to read a log again that lost its newest records.

    The lost records are older than `last`, and the records that took their offsets are younger. A broker whose clock
    was set back may have given them earlier times, so reading starts an hour before. The repeats count nothing, as
    long as their ids are remembered; beyond that, reading starts just after `last`.

    Args:
        last: the last applied record, which the broker lost; None when it is not known.
        remembered_from_us: broker time from which the ids of all applied events are remembered.
    """
    if last is None:
        return remembered_from_us
    # Whole milliseconds, the unit of the broker's times.
    just_after_us = (last.broker_time_us // 1_000 + 1) * 1_000
    return min(just_after_us, max(last.broker_time_us - _OVERLAP_US, remembered_from_us))
