"""What the event topics say happened: each event once, by image and kind, in the order of its offsets."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gourmetgram.events import EVENT_KINDS, BadMessage, Event, EventKind, Record, parse_event, parse_uuid
from gourmetgram_tools.inspection.event_log import KIND_CODES, Accepted, AcceptedEvents, EventLog, Ids
from gourmetgram_tools.inspection.kafka_reading import Keyed, Place, partition_of

_NO_EVENTS: Final = AcceptedEvents(EventLog(), np.empty(0, np.int32))
_ROW_ID_FIELD: Final[dict[EventKind, str]] = {"comment": "comment_id", "flag": "flag_id", "upload": "image_id"}


class Upload(NamedTuple):
    """An upload event, as far as its copy in Redis depends on it."""

    event: Accepted
    eligible: bool
    user_id: object
    category: object
    caption: object


class RowEvents(NamedTuple):
    """The rows that events of a kind name.

    Attributes:
        ids: of the rows, each once.
        numbers: how many distinct events name each.
    """

    ids: Ids
    numbers: NDArray[np.int64]


class BadRecord(NamedTuple):
    """A record of an event topic that does not follow the contract."""

    topic: str
    partition: int
    offset: int
    error: str


@dataclass(slots=True)
class ImageHistory:
    """The events of one image.

    Attributes:
        accepted: events that count, by kind, in offset order.
        api_views: distinct views by the API, whoever the actor.
        scattered: some of its events are not in its own partition, so that their order is not defined.
    """

    accepted: dict[EventKind, AcceptedEvents] = field(default_factory=lambda: dict.fromkeys(EVENT_KINDS, _NO_EVENTS))
    api_views: int = 0
    scattered: bool = False


@dataclass
class History:
    """All events.

    Attributes:
        partitions: how many partitions the topics have.
        log: every readable record.
        first: for each record of the log, whether it is the first of its event.
        images: by image id, for every image id of a readable event.
        row_events: for comments, flags and uploads: the rows that they name.
        events: distinct events by kind.
        copies: event ids that occurred again, in the order found.
        bad: records that cannot be read as events.
        by_hand: distinct events that no service of the platform wrote: simulated or typed in.
        misplaced: keyed records that are not in their key's partition, as `topic/partition@offset`.
        unkeyed: event ids of records whose key is not their image's id.
        first_broker_time_us: broker time of the earliest record of each partition.
    """

    partitions: int
    log: EventLog = field(default_factory=EventLog)
    first: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    images: dict[str, ImageHistory] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    row_events: dict[EventKind, RowEvents] = field(default_factory=dict)
    events: Counter[EventKind] = field(default_factory=Counter)
    copies: list[str] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    unkeyed: list[str] = field(default_factory=list)
    first_broker_time_us: dict[Place, int] = field(default_factory=dict)
    _home: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Keyed], partitions: int, number: int = 0) -> "History":
        """Read the records of the event topics.

        Args:
            records: in offset order within a partition.
            partitions: how many each topic has.
            number: how many records there are about.
        """
        history = cls(partitions, EventLog(number))
        for key, record in records:
            history._add(key, record)
        history._count()
        return history

    def _add(self, key: bytes | None, record: Record) -> None:
        """Take in the next record."""
        place = (record.topic, record.partition)
        if place not in self.first_broker_time_us:
            self.first_broker_time_us[place] = record.broker_time_us
        event = parse_event(record)
        if isinstance(event, BadMessage):
            self.bad.append(BadRecord(record.topic, record.partition, record.offset, event.error))
            return
        image = self.images.get(event.image_id)
        if image is None:
            image = self.images[event.image_id] = ImageHistory()
        if not self._is_home(key, record, event):
            image.scattered = True
        if event.kind == "view":
            self.log.append(record, event, None, by_hand=not is_api_view(event.payload))
            return
        row_id = parse_uuid(event.payload.get(_ROW_ID_FIELD[event.kind]))
        self.log.append(record, event, row_id, by_hand=row_id is None)
        if event.kind == "upload" and event.image_id not in self.uploads:
            self._note_upload(record, event)

    def _note_upload(self, record: Record, event: Event) -> None:
        accepted = Accepted(record.topic, record.offset, event.time_us, event.broker_time_us, event.event_id)
        payload = event.payload
        self.uploads[event.image_id] = Upload(
            accepted, event.actor_eligible, payload.get("user_id"), payload.get("category"), payload.get("caption")
        )

    def _count(self) -> None:
        """Tell copies from events, and count these, once every record is in."""
        log = self.log
        self.first = first = log.first_copies()
        self.copies = [log.event_id(index) for index in np.flatnonzero(~first).tolist()]
        self.by_hand = [log.event_id(index) for index in np.flatnonzero(first & log.by_hand).tolist()]
        kinds = log.kind
        for kind, code in KIND_CODES.items():
            number = int(np.count_nonzero(first & (kinds == code)))
            if number:
                self.events[kind] = number
        api_views = np.bincount(log.image[first & (kinds == KIND_CODES["view"]) & ~log.by_hand])
        for number in np.flatnonzero(api_views).tolist():
            self.images[log.images[number]].api_views = int(api_views[number])
        for image_id, kind, events in log.accepted(first & log.eligible):
            self.images[image_id].accepted[kind] = events
        self._count_row_events()

    def _count_row_events(self) -> None:
        rows = self.log.row_of
        kinds, first = self.log.kind[rows], self.first[rows]
        for kind, code in KIND_CODES.items():
            self.row_events[kind] = RowEvents(*np.unique(self.log.row_ids[first & (kinds == code)], return_counts=True))

    def _is_home(self, key: bytes | None, record: Record, event: Event) -> bool:
        """Whether the record is where the platform's producers put events of its image; notes what is not."""
        home = self._home.get(event.image_id)
        if home is None:
            home = self._home[event.image_id] = partition_of(event.image_id, self.partitions)
        if key is None or key != event.image_id.encode():
            self.unkeyed.append(event.event_id)
        elif record.partition != home:
            self.misplaced.append(f"{record.topic}/{record.partition}@{record.offset}")
        return record.partition == home


def is_api_view(payload: dict[str, Any]) -> bool:
    """Whether a view came through the API: those have an id and a time of viewing, and name no user."""
    return "viewed_at" in payload and "event_id" in payload and "user_id" not in payload
