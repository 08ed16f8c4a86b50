"""Fingerprints of the last records in the snapshots of `events`: the next run compares them before it reads on.

`gourmetgram.kafka.continuity` gives the reason.
"""

from collections.abc import Mapping
from typing import TypeAlias

from confluent_kafka import Consumer, Message

from gourmetgram.kafka.continuity import fingerprint
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, read_ranges

Fingerprints: TypeAlias = dict[str, dict[int, str]]
"""Topic -> partition -> fingerprint of the record before the next offset."""


class LastRecords:
    """Newest record of each partition among the messages of a run."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str | None, int | None], Message] = {}

    def note(self, messages: list[Message]) -> None:
        """Take messages, in offset order within each partition."""
        # A loop in C: an aggregation takes millions.
        places = zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)
        self._messages.update(zip(places, messages, strict=True))

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of these records."""
        found: Fingerprints = {}
        for (topic, number), message in self._messages.items():
            found.setdefault(topic or "", {})[number or 0] = _fingerprint(message)
        return found


def updated(known: Fingerprints, read: Fingerprints) -> Fingerprints:
    """Fingerprints after a run: those of earlier runs stay for partitions without new records."""
    return {topic: {**known.get(topic, {}), **read.get(topic, {})} for topic in known | read}


def _fingerprint(message: Message) -> str:
    _sort, time_ms = message.timestamp()
    return fingerprint(message.offset() or 0, time_ms, message.key(), message.value())


def rewritten(
    consumer: Consumer,
    stored: Mapping[str, Mapping[int, int]],
    known: Fingerprints,
    held: Mapping[Partition, OffsetRange],
) -> list[Partition]:
    """Partitions whose record before the next offset is another one than the one that was read.

    A partition without a fingerprint, or whose record the broker has deleted in the meantime, cannot be compared.

    Args:
        consumer: a range reader.
        stored: topic -> partition -> next offset to read.
        known: fingerprints of the records before these offsets.
        held: offsets that the broker holds.

    Raises:
        RecordsGoneError: the broker deleted a record in this moment.
        TransientError: the broker went away.
    """
    wanted = {}
    for partition, item in held.items():
        offset = stored.get(partition.topic, {}).get(partition.number)
        if (
            offset is not None
            and item.start < offset <= item.end
            and partition.number in known.get(partition.topic, {})
        ):
            wanted[partition] = OffsetRange(offset - 1, offset)
    found = LastRecords()
    for messages in read_ranges(consumer, wanted):
        found.note(messages)
    return sorted(
        Partition(topic, number)
        for topic, partitions in found.fingerprints().items()
        for number, mark in partitions.items()
        if mark != known[topic][number]
    )
