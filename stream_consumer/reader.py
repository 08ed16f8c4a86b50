"""Reading of records outside the stream: single ones, and ranges that were read before."""

from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import Consumer

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, RecordsGoneError, create_range_reader, read_ranges
from gourmetgram.kafka.records import to_record
from gourmetgram.settings import KafkaSettings

# The worker does not poll meanwhile, so this is far below the time after which it counts as silent.
_SILENCE_S: Final = 5.0


class RangeReader:
    """Reads fixed ranges over a connection of its own, as a member of no group.

    Args:
        settings: address of the broker.
        client_id: prefix of the name of its client.
        group: name shown to people.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, group: str) -> None:
        self._settings = settings
        self._name = f"{client_id}-ranges"
        self._group = group
        self._consumer: Consumer | None = None

    def read(self, ranges: Mapping[Partition, OffsetRange]) -> Iterator[list[Record]]:
        """Read exactly the records of the ranges, in batches: any partitions, in offset order within each.

        Raises:
            TransientError: the broker went away, or deleted records of a range in this moment.
        """
        if not any(item.records > 0 for item in ranges.values()):
            return
        if self._consumer is None:
            self._consumer = create_range_reader(self._settings, self._name, self._group)
        try:
            for messages in read_ranges(self._consumer, ranges, _SILENCE_S):
                yield [to_record(message) for message in messages]
        except (TransientError, RecordsGoneError) as error:
            # After a restart of the broker, a new client finds it sooner than one with an old leader epoch.
            self.close()
            raise TransientError(f"records could not be read again: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
