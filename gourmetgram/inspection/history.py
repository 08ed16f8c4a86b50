"""What the event topics say happened: each event once, by image and kind, in the order of its offsets."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gourmetgram.events import EVENT_KINDS, LATE_AFTER_US, BadMessage, Event, EventKind, Record, parse_event, parse_uuid
from gourmetgram.inspection.kafka_reading import Keyed, Place, partition_of

_ROW_ID_FIELD: Final[dict[EventKind, str]] = {"comment": "comment_id", "flag": "flag_id", "upload": "image_id"}


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


class Upload(NamedTuple):
    """An upload event, as far as its copy in Redis depends on it."""

    event: Accepted
    eligible: bool
    user_id: object
    category: object
    caption: object


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

    accepted: dict[EventKind, list[Accepted]] = field(default_factory=lambda: {kind: [] for kind in EVENT_KINDS})
    api_views: int = 0
    scattered: bool = False


@dataclass
class History:
    """All events.

    Attributes:
        partitions: how many partitions the topics have.
        images: by image id, for every image id of a readable event.
        row_events: for comments, flags and uploads: how many distinct events name each row's id.
        events: distinct events by kind.
        copies: event ids that occurred again, in the order found.
        bad: records that cannot be read as events.
        by_hand: distinct events that no service of the platform wrote: simulated or typed in.
        misplaced: keyed records that are not in their key's partition, as `topic/partition@offset`.
        unkeyed: event ids of records whose key is not their image's id.
        first_broker_time_us: broker time of the earliest record of each partition.
    """

    partitions: int
    images: dict[str, ImageHistory] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    row_events: dict[EventKind, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in EVENT_KINDS})
    events: Counter[EventKind] = field(default_factory=Counter)
    copies: list[str] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    unkeyed: list[str] = field(default_factory=list)
    first_broker_time_us: dict[Place, int] = field(default_factory=dict)
    _seen: set[bytes] = field(default_factory=set)
    _home: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Keyed], partitions: int) -> "History":
        """Read the records of the event topics.

        Args:
            records: in offset order within a partition.
            partitions: how many each topic has.
        """
        history = cls(partitions)
        for key, record in records:
            history.add(key, record)
        return history

    def add(self, key: bytes | None, record: Record) -> None:
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
        identity = bytes.fromhex(event.event_id.replace("-", ""))
        if identity in self._seen:
            self.copies.append(event.event_id)
            return
        self._seen.add(identity)
        self._count(event, image, record)

    def _count(self, event: Event, image: ImageHistory, record: Record) -> None:
        kind = event.kind
        self.events[kind] += 1
        accepted = Accepted(record.topic, record.offset, event.time_us, event.broker_time_us, event.event_id)
        if event.actor_eligible:
            image.accepted[kind].append(accepted)
        if kind == "view":
            if is_api_view(event.payload):
                image.api_views += 1
            else:
                self.by_hand.append(event.event_id)
            return
        row_id = parse_uuid(event.payload.get(_ROW_ID_FIELD[kind]))
        if row_id is None:
            self.by_hand.append(event.event_id)
        else:
            self.row_events[kind][row_id] += 1
        if kind == "upload" and event.image_id not in self.uploads:
            payload = event.payload
            self.uploads[event.image_id] = Upload(
                accepted, event.actor_eligible, payload.get("user_id"), payload.get("category"), payload.get("caption")
            )

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
