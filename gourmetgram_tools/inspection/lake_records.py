"""Rows of `event_aggregations.events` against the records of Kafka that they stand for, one by one."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gourmetgram.events import EVENT_KINDS, EventKind
from gourmetgram.lakehouse.progress import Offsets
from gourmetgram_tools.inspection.event_log import EventLog, Ids, ids_of
from gourmetgram_tools.inspection.kafka_reading import Place, Range

COLUMNS: Final = (
    *("event_id", "event_type", "image_id", "comment_id", "flag_id", "actor_eligible", "event_time"),
    *("topic", "partition", "offset"),
)
"""The columns of `events` that are compared."""

ROW_ID_COLUMN: Final[dict[EventKind, str]] = {"comment": "comment_id", "flag": "flag_id", "upload": "image_id"}
"""Where a row of `events` names the row of PostgreSQL that was written with it."""

_HYPHENS: Final = [8, 13, 18, 23]
_UUID_LENGTH: Final = 36
_DIGITS: Final = np.zeros(256, np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)


class _Partition(NamedTuple):
    """The readable records of one partition, below the offsets that `events` stands for.

    Attributes:
        offsets: ascending.
        indexes: where they are in the log.
        span: what Kafka holds of the partition, as far as `events` has read it.
    """

    offsets: NDArray[np.int64]
    indexes: NDArray[np.int64]
    span: Range


class RecordComparison:
    """Compares batch by batch, so that the table need not fit into memory.

    Args:
        log: what Kafka holds.
        offsets: the next offset that `events` has not read, by topic and partition.
        ranges: what Kafka holds of each partition: what retention has removed is not compared.

    Attributes:
        rows: rows of `events` about records that Kafka still holds.
    """

    def __init__(self, log: EventLog, offsets: Offsets, ranges: Mapping[Place, Range]) -> None:
        self._log = log
        self._partitions = dict(_partitions(log, offsets, ranges))
        self._copies = np.zeros(len(log), np.uint8)
        self._images = ids_of(log.images).view(np.uint64).reshape(-1, 2)
        self._different: dict[str, list[NDArray[np.int64]]] = {}
        self._surplus: dict[Place, list[NDArray[np.int64]]] = {}
        self.rows = 0
        self._row_ids: dict[EventKind, list[Ids]] = {kind: [] for kind in ROW_ID_COLUMN}

    @property
    def expected(self) -> int:
        """How many rows there must be."""
        return sum(len(partition.offsets) for partition in self._partitions.values())

    def below(self) -> NDArray[np.bool_]:
        """For each record of the log, whether `events` has read it."""
        found = np.zeros(len(self._log), np.bool_)
        for partition in self._partitions.values():
            found[partition.indexes] = True
        return found

    def add(self, batch: pa.RecordBatch) -> None:
        """Compare some rows of the table, with the columns `COLUMNS`."""
        self._note_row_ids(batch)
        topics = batch["topic"].dictionary_encode()
        codes = topics.indices.to_numpy(zero_copy_only=False)
        numbers = batch["partition"].to_numpy(zero_copy_only=False)
        for code, topic in enumerate(topics.dictionary.to_pylist()):
            of_topic = codes == code
            for number in np.unique(numbers[of_topic]).tolist():
                self._compare((topic, number), batch.take(pa.array(np.flatnonzero(of_topic & (numbers == number)))))

    def _note_row_ids(self, batch: pa.RecordBatch) -> None:
        for kind, column in ROW_ID_COLUMN.items():
            numbers = uuid_numbers(batch[column].filter(pc.equal(batch["event_type"], kind)))
            # Ids typed in by hand are zeros: they name no row.
            self._row_ids[kind].append(numbers[numbers.any(axis=1)].view("V16").ravel())

    def row_ids(self, kind: EventKind) -> Ids:
        """Ids of the PostgreSQL rows that events of a kind in the table were written with, each once."""
        parts = self._row_ids[kind]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, "V16")

    def _compare(self, place: Place, rows: pa.RecordBatch) -> None:
        partition = self._partitions.get(place)
        offsets = rows["offset"].to_numpy()
        if partition is None:
            self._surplus.setdefault(place, []).append(offsets)
            return
        held = np.flatnonzero(offsets >= partition.span.start)
        self.rows += len(held)
        positions = np.searchsorted(partition.offsets, offsets[held])
        clipped = np.minimum(positions, max(0, len(partition.offsets) - 1))
        known = partition.offsets[clipped] == offsets[held] if len(partition.offsets) else np.zeros(len(held), np.bool_)
        if not known.all():
            self._surplus.setdefault(place, []).append(offsets[held[~known]])
        indexes = partition.indexes[clipped[known]] if known.any() else np.empty(0, np.int64)
        np.add.at(self._copies, indexes, 1)
        self._compare_content(indexes, rows.take(pa.array(held[known])))

    def _compare_content(self, indexes: NDArray[np.int64], rows: pa.RecordBatch) -> None:
        log = self._log
        kinds = pc.index_in(rows["event_type"], pa.array(EVENT_KINDS)).fill_null(-1).to_numpy(zero_copy_only=False)
        images = self._images[log.image[indexes]]
        wrong = {
            "event_id": (uuid_numbers(rows["event_id"]) != log.ids[indexes]).any(axis=1),
            "event_type": kinds != log.kind[indexes],
            "image_id": (uuid_numbers(rows["image_id"]) != images).any(axis=1),
            "actor_eligible": rows["actor_eligible"].to_numpy(zero_copy_only=False) != log.eligible[indexes],
            "event_time": rows["event_time"].cast(pa.int64()).to_numpy() != log.time[indexes],
        }
        for column, mask in wrong.items():
            if mask.any():
                self._different.setdefault(column, []).append(indexes[mask])

    def differences(self) -> Iterator[str]:
        """One sentence for each run of neighbouring records with the same fault, once all rows were added."""
        for place, partition in self._partitions.items():
            copies = self._copies[partition.indexes]
            for first, last, number in _runs(partition.offsets, np.flatnonzero(copies == 0)):
                yield f"{_span(place, first, last, number)} missing in event_aggregations.events"
            for first, last, number in _runs(partition.offsets, np.flatnonzero(copies > 1)):
                yield f"{_span(place, first, last, number)} in event_aggregations.events more than once"
        for column, parts in self._different.items():
            different = np.concatenate(parts)
            for place, partition in self._partitions.items():
                positions = np.flatnonzero(np.isin(partition.indexes, different))
                for first, last, number in _runs(partition.offsets, positions):
                    yield f"{_span(place, first, last, number)} in event_aggregations.events with another {column}"
        for place, parts in self._surplus.items():
            offsets = np.unique(np.concatenate(parts))
            for first, last, number in _runs(offsets, np.arange(len(offsets)), by_offset=True):
                yield (
                    f"{_span(place, first, last, number)} in event_aggregations.events, "
                    "but no readable record below its offsets"
                )


def _partitions(log: EventLog, offsets: Offsets, ranges: Mapping[Place, Range]) -> Iterator[tuple[Place, _Partition]]:
    """The part of the log that `events` must hold."""
    numbers = {place: number for number, place in enumerate(log.places)}
    for place, span in ranges.items():
        topic, partition = place
        end = min(span.end, offsets.get(topic, {}).get(partition, 0))
        indexes = np.flatnonzero(log.place == numbers[place]) if place in numbers else np.empty(0, np.int64)
        indexes = indexes[log.offset[indexes] < end]
        yield place, _Partition(log.offset[indexes], indexes, Range(span.start, end))


def uuid_numbers(texts: pa.Array) -> NDArray[np.uint64]:
    """Hyphenated lower-case UUIDs as two numbers each: shape (texts, 2); zeros for any other text."""
    whole = pc.equal(pc.binary_length(texts), _UUID_LENGTH).fill_null(False)
    if not pc.all(whole, min_count=0).as_py():
        texts = pc.if_else(whole, texts, "0" * _UUID_LENGTH)
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts.cast(pa.string())), "")[0].as_py() or ""
    letters = np.frombuffer(joined.encode(), np.uint8).reshape(-1, _UUID_LENGTH)
    digits = _DIGITS[np.delete(letters, _HYPHENS, axis=1)]
    content = (digits[:, 0::2] << 4) | digits[:, 1::2]
    return np.ascontiguousarray(content).view(np.uint64)


def _runs(
    offsets: NDArray[np.int64], positions: NDArray[np.int64], *, by_offset: bool = False
) -> Iterator[tuple[int, int, int]]:
    """First offset, last offset and number of each run of neighbours among `positions` of `offsets`."""
    if not len(positions):
        return
    distance = np.diff(offsets[positions] if by_offset else positions)
    cuts = [0, *(np.flatnonzero(distance != 1) + 1).tolist(), len(positions)]
    for begin, end in pairwise(cuts):
        yield int(offsets[positions[begin]]), int(offsets[positions[end - 1]]), end - begin


def _span(place: Place, first: int, last: int, number: int) -> str:
    topic, partition = place
    if number == 1:
        return f"{topic}/{partition}@{first} is"
    return f"{topic}/{partition}@{first} to @{last}, {number} records, are"
