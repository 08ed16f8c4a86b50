"""Reader of events, requests and dead letters in Kafka: of one image for a trace, or all of them as tables."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from gourmetgram.events import BadMessage, Event, ModerationRequest, Record, parse_event, parse_request, parse_uuid
from gourmetgram.features.definition import CATEGORIES, UNKNOWN_CATEGORY
from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.moments import from_us
from gourmetgram.settings import KafkaSettings
from gourmetgram_tools.inspection.kafka_reading import Keyed, partition_of, read, reader, since
from gourmetgram_tools.inspection.tables import StoreTables

_ROW_ID_FIELD: Final = {"comment": "comment_id", "flag": "flag_id", "upload": "image_id"}


@dataclass(frozen=True)
class _InKafka:
    """Partition, offset and broker time of a record."""

    topic: str
    partition: int
    offset: int
    broker_time: datetime

    @property
    def place(self) -> str:
        """Topic without its prefix, partition and offset: `views/2@112`."""
        return f"{self.topic.rpartition('.')[2]}/{self.partition}@{self.offset}"


@dataclass(frozen=True)
class EventRecord(_InKafka):
    """An event in Kafka.

    Attributes:
        row_id: id of the comment, flag or image that was written with it.
        copy: True for a duplicate: an earlier record has the same event id.
        api: True for an event of the API; False for a simulated or manual one.
    """

    kind: str
    event_id: str
    image_id: str
    event_time: datetime
    actor_eligible: bool
    row_id: str | None
    copy: bool
    api: bool


@dataclass(frozen=True)
class RequestRecord(_InKafka):
    """A moderation request in Kafka; `time` is t, as of which the image is scored."""

    request_id: str
    image_id: str
    trigger: str
    time: datetime
    context: dict[str, Any]
    copy: bool


@dataclass(frozen=True)
class DeadLetterRecord:
    """A dead letter of a message about the image."""

    partition: int
    offset: int
    broker_time: datetime
    refused: str
    consumer_group: str
    error: str


@dataclass(frozen=True)
class ImageRecords:
    """All records about one image or one event, in the order of their broker times."""

    partition: int
    events: list[EventRecord]
    requests: list[RequestRecord]
    dead_letters: list[DeadLetterRecord]


class Letter(NamedTuple):
    """Content of a dead letter: topic, partition and offset of the rejected record, the group, and the reason."""

    topic: str
    partition: int
    offset: int
    consumer_group: str
    error: str
    value: str
    """Base64 of the rejected record's first 64 KiB."""


def letter_of(record_value: bytes | None) -> Letter | None:
    """Parse a message of the dead-letter topic; None when it is no dead letter."""
    try:
        message: Any = orjson.loads(record_value or b"")
        return Letter(
            topic=str(message["topic"]),
            partition=int(message["partition"]),
            offset=int(message["offset"]),
            consumer_group=str(message["consumer_group"]),
            error=str(message["error"]),
            value=str(message["value"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def requests_of(records: Iterable[Keyed]) -> Iterator[tuple[Record, ModerationRequest]]:
    """Parse the readable requests among records of the moderation topic, duplicates included."""
    for _, record in records:
        request = parse_request(record)
        if isinstance(request, ModerationRequest):
            yield record, request


def read_image_records(settings: KafkaSettings, image_id: str, since_us: int) -> ImageRecords:
    """Read the records of one image, from its own partition only.

    Args:
        settings: address of the broker.
        image_id: the image.
        since_us: oldest broker time, microseconds since the epoch.
    """
    needle = image_id.encode()

    def concerns(keyed: Keyed) -> bool:
        return keyed.key == needle or needle in (keyed.record.value or b"")

    with reader(settings) as consumer:
        everything = held_ranges(consumer, settings.all_topics)
        home = partition_of(image_id, sum(topic == settings.kafka_topic_views for topic, _ in everything) or 1)
        topics = (*settings.event_topics, settings.moderation_topic)
        wanted = {place: span for place, span in everything.items() if place[1] == home and place[0] in topics}
        # A dead letter has the key of the rejected record, so its partition is unknown.
        letters = {place: span for place, span in everything.items() if place[0] == settings.dead_letter_topic}
        records = [item for item in read(consumer, since(consumer, wanted, since_us)) if concerns(item)]
        requests = [item for item in records if item.record.topic == settings.moderation_topic]
        events = [item for item in records if item.record.topic != settings.moderation_topic]
        found = list(_letters(read(consumer, since(consumer, letters, since_us)), needle))
        return ImageRecords(home, _event_records(events), _request_records(requests), found)


def read_event_records(settings: KafkaSettings, event_id: str) -> list[EventRecord]:
    """Find every record of one event in all event topics, because an id does not give the partition."""
    needle = event_id.encode()
    with reader(settings) as consumer:
        spans = held_ranges(consumer, settings.event_topics)
        found = [item for item in read(consumer, spans) if needle in (item.record.value or b"").lower()]
    return [event for event in _event_records(found) if event.event_id == event_id]


def load_events(tables: StoreTables, records: Iterable[Keyed], partitions: int) -> None:
    """Fill the tables `records`, `upload_fields` and `bad_records`.

    Args:
        tables: tables to fill.
        records: records of the event topics.
        partitions: number of partitions of each topic.
    """

    def rows() -> Iterator[tuple[str, tuple[object, ...]]]:
        for key, record in records:
            event = parse_event(record)
            if isinstance(event, BadMessage):
                yield "bad_records", record[:4]
                continue
            if event.kind == "upload":
                yield "upload_fields", _upload_fields(event)
            yield (
                "records",
                (
                    *record[:4],
                    event.time_us,
                    event.kind,
                    event.event_id,
                    event.image_id,
                    _row_id(event),
                    event.actor_eligible,
                    not _by_platform(event),
                    key is not None and key == event.image_id.encode(),
                    record.partition == partition_of(event.image_id, partitions),
                ),
            )

    tables.load_several(rows())


def load_requests(tables: StoreTables, records: Iterable[Keyed]) -> None:
    """Fill the table `request_records`, and `bad_records` with malformed requests."""

    def rows() -> Iterator[tuple[str, tuple[object, ...]]]:
        for _, record in records:
            request = parse_request(record)
            if isinstance(request, BadMessage):
                yield "bad_records", record[:4]
                continue
            context = orjson.dumps(request.context, option=orjson.OPT_SORT_KEYS).decode()
            yield (
                "request_records",
                (
                    request.request_id,
                    record.partition,
                    record.offset,
                    request.image_id,
                    request.trigger,
                    request.time_us,
                    context,
                    request.counts() is not None,
                ),
            )

    tables.load_several(rows())


def load_dead_letters(tables: StoreTables, records: Iterable[Keyed]) -> None:
    """Fill the table `dead_letters` with the readable ones."""
    letters = (letter_of(record.value) for _, record in records)
    tables.load("dead_letters", (letter[:5] for letter in letters if letter is not None))


def _row_id(event: Event) -> str | None:
    """Id of the comment, flag or image that was written with the event; None for a view, or without an id."""
    return parse_uuid(event.payload.get(_ROW_ID_FIELD.get(event.kind, "")))


def _by_platform(event: Event) -> bool:
    """True for an event of a platform service. An API view has an id and a time of viewing, but no user."""
    if event.kind != "view":
        return _row_id(event) is not None
    return "viewed_at" in event.payload and "event_id" in event.payload and "user_id" not in event.payload


def _upload_fields(event: Event) -> tuple[str, ...]:
    """Event id, and the fields that the image's hash in Redis must have."""
    category, caption = event.payload.get("category"), event.payload.get("caption")
    category = category.strip() if isinstance(category, str) else None
    return (
        event.event_id,
        category if category in CATEGORIES else UNKNOWN_CATEGORY,
        str(len(caption) if isinstance(caption, str) else 0),
        str(event.payload.get("user_id") or ""),
    )


def _event_records(items: Iterable[Keyed]) -> list[EventRecord]:
    found: list[EventRecord] = []
    seen: set[str] = set()
    for _, record in sorted(items, key=lambda item: (item.record.broker_time_us, item.record.offset)):
        event = parse_event(record)
        if isinstance(event, BadMessage):
            continue  # shown as a dead letter
        found.append(
            EventRecord(
                *_place(record),
                kind=event.kind,
                event_id=event.event_id,
                image_id=event.image_id,
                event_time=from_us(event.time_us),
                actor_eligible=event.actor_eligible,
                row_id=_row_id(event),
                copy=event.event_id in seen,
                api=event.kind != "view" or _by_platform(event),
            )
        )
        seen.add(event.event_id)
    return found


def _request_records(items: Iterable[Keyed]) -> list[RequestRecord]:
    found: list[RequestRecord] = []
    seen: set[str] = set()
    for record, request in requests_of(items):
        request_id, image_id, trigger, time_us, context = request
        copy = request_id in seen
        found.append(RequestRecord(*_place(record), request_id, image_id, trigger, from_us(time_us), context, copy))
        seen.add(request_id)
    return found


def _place(record: Record) -> tuple[str, int, int, datetime]:
    return record.topic, record.partition, record.offset, from_us(record.broker_time_us)


def _letters(items: Iterable[Keyed], needle: bytes) -> Iterator[DeadLetterRecord]:
    """Dead letters whose rejected record has these bytes as its key or in its content."""
    for key, record in items:
        letter = letter_of(record.value)
        if letter is None:
            continue
        try:
            concerns = key == needle or needle in base64.b64decode(letter.value)
        except binascii.Error:
            continue
        if concerns:
            yield DeadLetterRecord(
                partition=record.partition,
                offset=record.offset,
                broker_time=from_us(record.broker_time_us),
                refused=f"{letter.topic}/{letter.partition}@{letter.offset}",
                consumer_group=letter.consumer_group,
                error=letter.error,
            )
