"""A fixed range of offsets: frozen once, then read exactly.

The reader joins no group and commits nothing. It serves jobs that must read the same records on every run (the
aggregation) and tools that must not change the platform (trace, audit).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.kafka.clients import create_consumer
from gourmetgram.kafka.partitions import Partition
from gourmetgram.settings import KafkaSettings

ANSWER_S: Final = 10.0
"""Longest wait for an answer about topics and offsets, seconds."""

SILENCE_S: Final = 30.0
"""Silence of the broker after which reading ends with an error, seconds."""

_BATCH: Final = 5_000
_BATCH_WAIT_S: Final = 0.1
_GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


class OffsetRange(NamedTuple):
    """Offsets `start` (included) to `end` (excluded) of a partition."""

    start: int
    end: int

    @property
    def records(self) -> int:
        """Number of offsets in the range."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"


class RecordsGoneError(PermanentError):
    """The broker deleted records of a range before they were read; the rest of the range is useless."""


def create_range_reader(settings: KafkaSettings, client_id: str, group: str, **overrides: object) -> Consumer:
    """Create a consumer for `held_ranges` and `read_ranges`.

    Args:
        settings: address of the broker.
        client_id: name of the client.
        group: name shown to people; the reader never joins it.
        overrides: options of the client.
    """
    return create_consumer(
        settings,
        client_id,
        group,
        **{
            "enable.partition.eof": True,
            # A record that retention deletes between freezing and reading is an error, never a silent jump.
            "auto.offset.reset": "error",
            # Compressed bytes per partition and request: the client keeps them decompressed until they are read.
            "fetch.message.max.bytes": 131_072,
            "queued.max.messages.kbytes": 4_096,
            "queued.min.messages": 20_000,
            # With such a small buffer, the next request follows as soon as there is room; the default waits a second.
            "fetch.queue.backoff.ms": 10,
            **overrides,
        },
    )


def held_ranges(consumer: Consumer, topics: Iterable[str]) -> dict[Partition, OffsetRange]:
    """Offsets that the broker holds now, per partition; a missing topic has none.

    Raises:
        TransientError: the broker did not answer.
    """
    held: dict[Partition, OffsetRange] = {}
    try:
        for topic in topics:
            # Asked by name: a shared broker may hold thousands of other topics.
            for number in sorted(consumer.list_topics(topic, timeout=ANSWER_S).topics[topic].partitions):
                partition = Partition(topic, number)
                watermarks = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=ANSWER_S)
                if watermarks is None:
                    raise TransientError(f"the broker did not report the offsets of {partition} within {ANSWER_S:g} s")
                held[partition] = OffsetRange(*watermarks)
    except KafkaException as error:
        raise TransientError(f"the broker did not report its offsets: {error}") from error
    return held


def read_ranges(
    consumer: Consumer, ranges: Mapping[Partition, OffsetRange], silence_s: float = SILENCE_S
) -> Iterator[list[Message]]:
    """Read exactly the records of the ranges.

    Args:
        consumer: a range reader.
        ranges: offsets to read.
        silence_s: silence of the broker after which reading ends with an error, seconds.

    Yields:
        Batches of messages without errors, never empty: any partitions, in offset order within each.

    Raises:
        RecordsGoneError: the broker no longer has a record of a range.
        TransientError: the broker went away.
    """
    reading = _Reading(consumer, {partition: item for partition, item in ranges.items() if item.records > 0})
    places = [TopicPartition(*partition, item.start) for partition, item in reading.open.items()]
    consumer.assign(places)
    # The client keeps a pause over an assignment: an earlier range of this consumer may have ended with one.
    consumer.resume(places)
    heard = time.monotonic()
    try:
        while reading.open:
            messages = consumer.consume(min(_BATCH, reading.ahead), _BATCH_WAIT_S)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > silence_s:
                waiting = ", ".join(map(str, reading.open))
                raise TransientError(f"the broker sent nothing for {silence_s:g} s; still to read: {waiting}")
            batch = reading.take(messages)
            if batch:
                yield batch
    finally:
        consumer.unassign()


class _Reading:
    """Progress of one `read_ranges`.

    Attributes:
        open: ranges that are not read to their ends.
        ahead: number of messages to request, at least 1: a larger request would wait for the time-out.
    """

    def __init__(self, consumer: Consumer, ranges: dict[Partition, OffsetRange]) -> None:
        self.open = ranges
        self.ahead = max(1, sum(item.records for item in ranges.values()))
        self._consumer = consumer
        # Plain tuples as keys: a named tuple for each message would double the cost of this class.
        self._last: dict[tuple[str | None, int | None], int] = {p: item.end - 1 for p, item in ranges.items()}

    def take(self, messages: list[Message]) -> list[Message]:
        """Select messages inside the ranges. Partitions that are read to their ends are paused."""
        batch = []
        finished = []
        last = self._last
        for message in messages:
            place = (message.topic(), message.partition())
            final = last.get(place)
            error = message.error()
            offset: int = message.offset()  # type: ignore[assignment] # consumed messages have one
            if error is None and final is not None and offset < final:
                batch.append(message)
                continue
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise self._failure(message, error)
            if final is None:
                continue  # beyond the range, prefetched
            if error is None and offset == final:
                batch.append(message)
            # The last offsets of a range may hold no message (transaction markers). Then the end of the partition,
            # reported at the next offset, or a later message shows the end of the range.
            if error is None or offset > final:
                finished.append(self._close(place))
        if finished:
            self._consumer.pause(finished)
        self.ahead = max(1, self.ahead - len(batch))
        return batch

    def _close(self, place: tuple[str | None, int | None]) -> TopicPartition:
        del self._last[place]
        partition = Partition(*place)  # type: ignore[arg-type] # the key of a partition
        del self.open[partition]
        return TopicPartition(*partition)

    def _failure(self, message: Message, error: KafkaError) -> PermanentError | TransientError:
        if error.code() not in _GONE:
            return TransientError(f"the broker reported an error while records were read: {error.str()}")
        partition = Partition(message.topic() or "", message.partition() or 0)
        item = self.open.get(partition)
        return RecordsGoneError(
            f"{partition}: the broker deleted records of {item} while they were read"
            if item
            else f"a partition lost records while it was read: {error.str()}"
        )
