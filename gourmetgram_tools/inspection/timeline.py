"""Timeline of an image from the records of every store, by pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from gourmetgram.windows import TriggerSettings
from gourmetgram_tools.inspection.kafka_records import EventRecord, ImageRecords
from gourmetgram_tools.inspection.objects import StoredObject
from gourmetgram_tools.inspection.redis_state import RedisKey
from gourmetgram_tools.inspection.rows import ImageRows

MANY: Final = 12
"""Number of events of a kind that are all shown; of more, only the first, the 10th, the 100th … and the last."""

_DECIDING: Final = {trigger.name: trigger.count_name for trigger in TriggerSettings().window_triggers()}
"""Count that raises each trigger."""

_LONGEST_TEXT: Final = 24
T = TypeVar("T")


@dataclass(frozen=True)
class Moment:
    """A moment in the life of an image.

    Attributes:
        store: source of the fact.
        what: the fact, in a few words.
        detail: numbers of the fact.
    """

    at: datetime
    store: str
    what: str
    detail: str


def notable(items: Sequence[T]) -> list[tuple[int, T]]:
    """Number (from 1) and item of those that get a line, see `MANY`."""
    if len(items) <= MANY:
        return list(enumerate(items, start=1))
    numbers = {1, len(items)}
    power = 10
    while power <= len(items):
        numbers.add(power)
        power *= 10
    return [(number, items[number - 1]) for number in sorted(numbers)]


def distinct(records: ImageRecords, kind: str) -> list[EventRecord]:
    """Events of a kind without duplicates, in the order of their times."""
    found = [event for event in records.events if event.kind == kind and not event.copy]
    return sorted(found, key=lambda event: event.event_time)


def build_timeline(
    rows: ImageRows, stored: StoredObject | None, records: ImageRecords, keys: Sequence[RedisKey]
) -> list[Moment]:
    """All moments in the order of time; ties in the order of the data flow."""
    moments = [
        *_beginnings(rows, stored),
        *_events(rows, records),
        *_consequences(rows, records),
        *_popular(keys),
    ]
    return sorted(moments, key=lambda moment: moment.at)  # stable: the order above decides ties


def _beginnings(rows: ImageRows, stored: StoredObject | None) -> list[Moment]:
    moments = []
    if rows.uploader:
        user = rows.uploader
        born = f"born {user.year_of_birth}" if user.year_of_birth else "year of birth unknown"
        account = ", test account" if user.is_test_account else ""
        moments.append(Moment(user.created_at, "PostgreSQL", "user joins", f"{user.username}, {born}{account}"))
    if stored:
        size = f"{stored.size:,} bytes, {stored.content_type}"
        moments.append(Moment(stored.stored_at, "MinIO", "picture stored", f"{size} (time in whole seconds)"))
    if rows.image:
        image = rows.image
        moments.append(
            Moment(image.created_at, "PostgreSQL", "image row", f"{image.category or 'no category'}, {image.source}")
        )
        if image.deleted_at:
            moments.append(Moment(image.deleted_at, "PostgreSQL", "image deleted", ""))
    return moments


def _events(rows: ImageRows, records: ImageRecords) -> list[Moment]:
    moments = []
    contents = {row.id: row.content for row in rows.comments} | {row.id: row.reason for row in rows.flags}
    comment_flags = {row.id for row in rows.flags if row.comment_id}
    for kind in ("upload", "view", "comment", "flag"):
        events = distinct(records, kind)
        for number, event in notable(events):
            what = f"{kind} event" if kind == "upload" else f"{kind} {number} of {len(events)}"
            if event.row_id in comment_flags:
                what += " (of a comment)"
            text = contents.get(event.row_id or "", "")
            moments.append(Moment(event.event_time, "Kafka", what, " · ".join(filter(None, _about(event, text)))))
    with_event = {event.row_id for event in records.events}
    moments.extend(
        Moment(row.created_at, "PostgreSQL", f"{noun} without event", row.id)
        for noun, found in (("comment", rows.comments), ("flag", rows.flags))
        for row in found
        if row.id not in with_event
    )
    moments.extend(
        Moment(row.created_at, "PostgreSQL", f"{row.event_type or 'event'} waits in the outbox", row.event_id)
        for row in rows.outbox
    )
    return moments


def _about(event: EventRecord, text: str) -> list[str]:
    return [
        event.place,
        milliseconds(event.broker_time - event.event_time),
        "" if event.actor_eligible else "not eligible",
        "" if event.api else "not from the API",
        text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…",
    ]


def milliseconds(delay: timedelta) -> str:
    """Text of a short delay; the broker's clock counts whole milliseconds."""
    value = delay / timedelta(milliseconds=1)
    return f"{value:+.0f} ms" if abs(value) < 10_000 else f"{value / 1000:+.0f} s"


def _consequences(rows: ImageRows, records: ImageRecords) -> list[Moment]:
    moments = [
        Moment(row.reached_at, "PostgreSQL", f"milestone {row.value} views", "")
        for row in rows.milestones
        if row.reached_at
    ]
    for request in records.requests:
        name = _DECIDING.get(request.trigger)
        counts = f"{name}={request.context.get(name)}" if name else ""
        delay = milliseconds(request.broker_time - request.time)
        again = " again" if request.copy else ""
        parts = filter(None, (request.place, f"{delay} after t", counts))
        moments.append(
            Moment(
                request.broker_time,
                "Kafka",
                f"request {request.trigger}{again}",
                " · ".join(parts),
            )
        )
    for row in rows.decisions:
        verdict = f"{row.risk_score:.2f} {row.recommendation or ''}".strip()
        moments.append(Moment(row.created_at, "PostgreSQL", f"decision {row.trigger}: {verdict}", row.rationale or ""))
    moments.extend(
        Moment(letter.broker_time, "Kafka", "dead letter", f"{letter.refused}: {letter.error}")
        for letter in records.dead_letters
    )
    return moments


def _popular(keys: Sequence[RedisKey]) -> list[Moment]:
    """An alert without a request leaves only its key."""
    moments = []
    for key in keys:
        if key.key.endswith(":alert:popular") and isinstance(key.value, str):
            at = datetime.fromtimestamp(float(key.value), UTC)
            moments.append(Moment(at, "Redis", "popular", "alert without request"))
    return moments
