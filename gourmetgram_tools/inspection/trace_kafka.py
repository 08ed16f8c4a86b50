"""One image, or one event, in Kafka."""

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gourmetgram.events import BadMessage, ModerationRequest, parse_event, parse_request, parse_uuid
from gourmetgram.settings import KafkaSettings
from gourmetgram_tools.inspection.history import is_api_view
from gourmetgram_tools.inspection.kafka_reading import Keyed, partition_of, ranges, read, reader, since
from gourmetgram_tools.inspection.requests import dead_letter_of


@dataclass(frozen=True)
class EventRecord:
    """An event as it stands in Kafka.

    Attributes:
        copy: whether an earlier record has the same event id.
        row_id: id of the comment, flag or image that it is about.
        api: whether the API wrote it (else simulated or typed in).
    """

    topic: str
    partition: int
    offset: int
    broker_time: datetime
    kind: str
    event_id: str
    image_id: str
    event_time: datetime
    actor_eligible: bool
    row_id: str | None
    copy: bool
    api: bool

    @property
    def place(self) -> str:
        """Where it stands, short."""
        return f"{self.topic.rpartition('.')[2]}/{self.partition}@{self.offset}"


@dataclass(frozen=True)
class RequestRecord:
    """A moderation request as it stands in Kafka. `time` is t, as of which the image is judged."""

    topic: str
    partition: int
    offset: int
    broker_time: datetime
    request_id: str
    image_id: str
    trigger: str
    time: datetime
    context: dict[str, Any]
    copy: bool

    @property
    def place(self) -> str:
        """Where it stands, short."""
        return f"{self.topic.rpartition('.')[2]}/{self.partition}@{self.offset}"


@dataclass(frozen=True)
class DeadLetterRecord:
    """A dead letter about the image."""

    partition: int
    offset: int
    broker_time: datetime
    refused: str
    consumer_group: str
    error: str


@dataclass(frozen=True)
class ImageRecords:
    """All records about one image (or one event), in the order of their broker times."""

    partition: int
    events: list[EventRecord]
    requests: list[RequestRecord]
    dead_letters: list[DeadLetterRecord]


def moment(time_us: int) -> datetime:
    """Microseconds since the epoch as a time; exact, unlike a float of seconds."""
    seconds, micros = divmod(time_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def read_image_records(settings: KafkaSettings, image_id: str, since_us: int) -> ImageRecords:
    """Read what Kafka holds of an image: only its own partition, only what is younger than the image.

    Args:
        settings: where the broker is.
        image_id: the image.
        since_us: nothing is older than this, microseconds since the epoch.
    """
    needle = image_id.encode()

    def concerns(keyed: Keyed) -> bool:
        return keyed.key == needle or needle in (keyed.record.value or b"")

    with reader(settings) as consumer:
        everything = ranges(consumer, settings.all_topics)
        partitions = max((number + 1 for topic, number in everything if topic == settings.kafka_topic_views), default=1)
        home = partition_of(image_id, partitions)
        wanted = {
            place: span for place, span in everything.items() if place[1] == home and place[0] in _keyed(settings)
        }
        # The key of a dead letter is the refused record's, whatever that was.
        letters = {place: span for place, span in everything.items() if place[0] == settings.dead_letter_topic}
        records = [item for item in read(consumer, since(consumer, wanted, since_us)) if concerns(item)]
        found = read(consumer, since(consumer, letters, since_us))
        return _sorted(settings, home, records, [item for item in found if _letter_concerns(item, needle)])


def read_event_records(settings: KafkaSettings, event_id: str) -> list[EventRecord]:
    """Every record of one event: all event topics are searched, because an id does not tell the partition."""
    needle = event_id.encode()
    with reader(settings) as consumer:
        spans = ranges(consumer, settings.event_topics)
        found = [item for item in read(consumer, spans) if needle in (item.record.value or b"").lower()]
    return [event for event in _events(found) if event.event_id == event_id]


def _keyed(settings: KafkaSettings) -> tuple[str, ...]:
    return (*settings.event_topics, settings.moderation_topic)


def _sorted(settings: KafkaSettings, home: int, records: Iterable[Keyed], letters: Iterable[Keyed]) -> ImageRecords:
    requests = [item for item in records if item.record.topic == settings.moderation_topic]
    events = [item for item in records if item.record.topic != settings.moderation_topic]
    return ImageRecords(home, _events(events), _requests(requests), _letters(letters))


def _first(seen: set[str]) -> Callable[[str], bool]:
    """Tell whether an id comes for the first time."""

    def first(identity: str) -> bool:
        if identity in seen:
            return False
        seen.add(identity)
        return True

    return first


def _events(items: Iterable[Keyed]) -> list[EventRecord]:
    is_first = _first(set())
    found = []
    for _, record in sorted(items, key=lambda item: (item.record.broker_time_us, item.record.offset)):
        event = parse_event(record)
        if isinstance(event, BadMessage):
            continue  # shown as a dead letter
        payload = event.payload
        row_id = payload.get({"comment": "comment_id", "flag": "flag_id"}.get(event.kind, "image_id"))
        found.append(
            EventRecord(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                broker_time=moment(record.broker_time_us),
                kind=event.kind,
                event_id=event.event_id,
                image_id=event.image_id,
                event_time=moment(event.time_us),
                actor_eligible=event.actor_eligible,
                row_id=parse_uuid(row_id) if event.kind != "view" else None,
                copy=not is_first(event.event_id),
                api=event.kind != "view" or is_api_view(payload),
            )
        )
    return found


def _requests(items: Iterable[Keyed]) -> list[RequestRecord]:
    is_first = _first(set())
    found = []
    for _, record in items:
        request = parse_request(record)
        if isinstance(request, ModerationRequest):
            found.append(
                RequestRecord(
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    broker_time=moment(record.broker_time_us),
                    request_id=request.request_id,
                    image_id=request.image_id,
                    trigger=request.trigger,
                    time=moment(request.time_us),
                    context=request.context,
                    copy=not is_first(request.request_id),
                )
            )
    return found


def _letter_concerns(item: Keyed, needle: bytes) -> bool:
    letter = dead_letter_of(item.record.value)
    if letter is None:
        return False
    try:
        return item.key == needle or needle in base64.b64decode(letter.value)
    except binascii.Error:
        return False


def _letters(items: Iterable[Keyed]) -> list[DeadLetterRecord]:
    found = []
    for _, record in items:
        letter = dead_letter_of(record.value)
        if letter is not None:
            found.append(
                DeadLetterRecord(
                    partition=record.partition,
                    offset=record.offset,
                    broker_time=moment(record.broker_time_us),
                    refused=f"{letter.topic}/{letter.partition}@{letter.offset}",
                    consumer_group=letter.consumer_group,
                    error=letter.error,
                )
            )
    return found
