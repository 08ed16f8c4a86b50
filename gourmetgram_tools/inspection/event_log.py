"""Millions of events in columns: some 50 bytes each, where objects would take ten times as much."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from gourmetgram.events import EVENT_KINDS, LATE_AFTER_US, Event, EventKind, Record
from gourmetgram_tools.inspection.kafka_reading import Place

Indexes = NDArray[np.int32]
"""Numbers of events of a log, from 0."""

Ids = NDArray[np.void]
"""UUIDs as their 16 bytes: compared, sorted and joined by numpy."""

_ID: Final = np.dtype("V16")

KIND_CODES: Final[dict[EventKind, int]] = {kind: code for code, kind in enumerate(EVENT_KINDS)}

_KIND_BITS: Final = 3
_ELIGIBLE: Final = 4
_BY_HAND: Final = 8
_BUFFERED: Final = 32_768


class Accepted(NamedTuple):
    """An event that counts: by an eligible actor, and the first of its copies."""

    topic: str
    offset: int
    time_us: int
    broker_time_us: int
    event_id: str

    @property
    def is_history(self) -> bool:
        """Whether it was too old to alert when the broker received it."""
        return self.broker_time_us - self.time_us > LATE_AFTER_US


class _Column:
    """Numbers that come one by one and are used as an array.

    They are collected in a small buffer, because one array that grows to millions would move, and leave holes in the
    process's memory each time.

    Args:
        code: type of a number, as `array` names it.
        capacity: how many numbers are expected.
    """

    def __init__(self, code: str, capacity: int) -> None:
        self.pending = array(code)
        self._values = np.empty(capacity, self.pending.typecode)
        self._size = 0

    def flush(self) -> None:
        """Empty the buffer into the array."""
        end = self._size + len(self.pending)
        if end > len(self._values):
            self._values = np.concatenate([self._values[: self._size], np.empty(end, self._values.dtype)])
        self._values[self._size : end] = self.pending
        self._size = end
        del self.pending[:]

    @property
    def values(self) -> NDArray[Any]:
        """All numbers."""
        if self.pending:
            self.flush()
        return self._values[: self._size]


class EventLog:
    """Readable records of the event topics, copies included, in the order in which they were read.

    Args:
        capacity: how many records there are about.

    Attributes:
        places: the partitions seen; `place` is an index of this list.
        images: the image ids seen; `image` is an index of this list.
    """

    def __init__(self, capacity: int = 0) -> None:
        self.places: list[Place] = []
        self.images: list[str] = []
        self._place_numbers: dict[Place, int] = {}
        self._image_numbers: dict[str, int] = {}
        self._size = 0
        self._place = _Column("H", capacity)
        self._image = _Column("i", capacity)
        self._code = _Column("B", capacity)
        self._offset = _Column("q", capacity)
        self._time = _Column("q", capacity)
        self._broker_time = _Column("q", capacity)
        self._ids = _Column("Q", 2 * capacity)
        self._row_of = _Column("i", 0)
        self._row_ids = _Column("Q", 0)
        self._all = (self._place, self._image, self._code, self._offset, self._time, self._broker_time, self._ids)

    def append(self, record: Record, event: Event, row_id: str | None, by_hand: bool) -> None:
        """Add a record.

        Args:
            record: where it stood.
            event: what it says.
            row_id: id of the comment, flag or image that was written with it; None when it names none.
            by_hand: no service of the platform wrote it.
        """
        if row_id is not None:
            self._row_of.pending.append(self._size)
            self._row_ids.pending.frombytes(uuid_bytes(row_id))
        place = (record.topic, record.partition)
        number = self._place_numbers.get(place)
        if number is None:
            number = self._place_numbers[place] = len(self.places)
            self.places.append(place)
        self._place.pending.append(number)
        self._image.pending.append(self._image_number(event.image_id))
        self._code.pending.append(KIND_CODES[event.kind] | _ELIGIBLE * event.actor_eligible | _BY_HAND * by_hand)
        self._offset.pending.append(record.offset)
        self._time.pending.append(event.time_us)
        self._broker_time.pending.append(event.broker_time_us)
        self._ids.pending.frombytes(uuid_bytes(event.event_id))
        self._size += 1
        if self._size % _BUFFERED == 0:
            for column in self._all:
                column.flush()

    def _image_number(self, image_id: str) -> int:
        number = self._image_numbers.get(image_id)
        if number is None:
            number = self._image_numbers[image_id] = len(self.images)
            self.images.append(image_id)
        return number

    def __len__(self) -> int:
        return self._size

    # Views of the columns: they do not see what is added later.

    @property
    def place(self) -> NDArray[np.uint16]:
        """Number of the partition."""
        return self._place.values

    @property
    def image(self) -> NDArray[np.int32]:
        """Number of the image."""
        return self._image.values

    @property
    def _codes(self) -> NDArray[np.uint8]:
        return self._code.values

    @property
    def kind(self) -> NDArray[np.uint8]:
        """Code of the kind, see `KIND_CODES`."""
        return self._codes & np.uint8(_KIND_BITS)

    @property
    def eligible(self) -> NDArray[np.bool_]:
        """Whether the actor's events may be used."""
        return (self._codes & _ELIGIBLE).astype(np.bool_)

    @property
    def by_hand(self) -> NDArray[np.bool_]:
        """Whether no service of the platform wrote it."""
        return (self._codes & _BY_HAND).astype(np.bool_)

    @property
    def offset(self) -> NDArray[np.int64]:
        """Offset in the partition."""
        return self._offset.values

    @property
    def time(self) -> NDArray[np.int64]:
        """Event time, microseconds."""
        return self._time.values

    @property
    def broker_time(self) -> NDArray[np.int64]:
        """When the broker stored the record, microseconds."""
        return self._broker_time.values

    @property
    def ids(self) -> NDArray[np.uint64]:
        """The event ids as two numbers each: shape (events, 2)."""
        return self._ids.values.reshape(-1, 2)

    @property
    def row_of(self) -> NDArray[np.int32]:
        """The events that were written together with a row."""
        return self._row_of.values

    @property
    def row_ids(self) -> Ids:
        """The id of the row of each event of `row_of`."""
        return self._row_ids.values.view(_ID)

    def event_id(self, index: int) -> str:
        """The id of an event."""
        return uuid_text(self.ids[index].tobytes())

    def first_copies(self) -> NDArray[np.bool_]:
        """For each record, whether no earlier one has its event id."""
        first = np.ones(len(self), np.bool_)
        if not len(self):
            return first
        high, low = self.ids[:, 0], self.ids[:, 1]
        order = np.argsort(high, kind="stable").astype(np.int32)
        alike = high[order[1:]] == high[order[:-1]]
        # Few ids have the same first half: only these are looked at closely.
        suspects = np.union1d(order[1:][alike], order[:-1][alike])
        del order, alike
        # A stable sort: of equal ids the earliest record comes first.
        suspects = suspects[np.lexsort((low[suspects], high[suspects]))]
        same = (self.ids[suspects[1:]] == self.ids[suspects[:-1]]).all(axis=1)
        first[suspects[1:][same]] = False
        return first

    def accepted(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[str, EventKind, "AcceptedEvents"]]:
        """The chosen events of each image and kind, in the order of the log."""
        indexes = np.flatnonzero(chosen).astype(np.int32)
        if not len(indexes):
            return
        keys = self.image[indexes].astype(np.int64) * len(EVENT_KINDS) + self.kind[indexes]
        order = np.argsort(keys, kind="stable")
        keys, indexes = keys[order], indexes[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        for key, part in zip(keys[starts].tolist(), np.split(indexes, starts[1:]), strict=True):
            image, code = divmod(key, len(EVENT_KINDS))
            yield self.images[image], EVENT_KINDS[code], AcceptedEvents(self, part)


class AcceptedEvents(Sequence[Accepted]):
    """Some events of a log, in its order; each becomes an object only when it is looked at."""

    __slots__ = ("_indexes", "_log")

    def __init__(self, log: EventLog, indexes: Indexes) -> None:
        self._log = log
        self._indexes = indexes

    def __len__(self) -> int:
        return len(self._indexes)

    @overload
    def __getitem__(self, item: int) -> Accepted: ...

    @overload
    def __getitem__(self, item: slice) -> "AcceptedEvents": ...

    def __getitem__(self, item: int | slice) -> "Accepted | AcceptedEvents":
        if isinstance(item, slice):
            return AcceptedEvents(self._log, self._indexes[item])
        return next(iter(AcceptedEvents(self._log, self._indexes[[item]])))

    def __iter__(self) -> Iterator[Accepted]:
        log, chosen = self._log, self._indexes
        columns = (log.place[chosen], log.offset[chosen], log.time[chosen], log.broker_time[chosen], chosen)
        for place, offset, time_us, broker_us, index in zip(*(column.tolist() for column in columns), strict=True):
            yield Accepted(log.places[place][0], offset, time_us, broker_us, log.event_id(index))

    def at(self, times_us: Iterable[int]) -> "AcceptedEvents":
        """Those with one of these event times."""
        return AcceptedEvents(self._log, self._indexes[np.isin(self.times, np.fromiter(times_us, np.int64))])

    @property
    def all_history(self) -> bool:
        """Whether each was too old to alert when the broker received it."""
        return bool((self.broker_times - self.times > LATE_AFTER_US).all())

    def since(self, time_us: int) -> "AcceptedEvents":
        """Those with an event time later than this."""
        return AcceptedEvents(self._log, self._indexes[self.times > time_us])

    @property
    def times(self) -> NDArray[np.int64]:
        """Their event times."""
        return self._log.time[self._indexes]

    @property
    def broker_times(self) -> NDArray[np.int64]:
        """Their broker times."""
        return self._log.broker_time[self._indexes]


def ids_of(texts: Iterable[str]) -> Ids:
    """Hyphenated UUIDs as an array."""
    return np.frombuffer(b"".join(map(uuid_bytes, texts)), _ID)


def id_texts(ids: Ids) -> list[str]:
    """The hyphenated UUIDs of an array."""
    return [uuid_text(each.tobytes()) for each in ids]


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a hyphenated UUID."""
    return bytes.fromhex(text.replace("-", ""))


def uuid_text(content: bytes) -> str:
    """The hyphenated UUID of 16 bytes."""
    text = content.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
