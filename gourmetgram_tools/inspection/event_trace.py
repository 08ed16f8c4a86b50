"""Trace of one event through every store, by its id."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from gourmetgram.errors import PermanentError
from gourmetgram.events import parse_uuid, request_uuid
from gourmetgram.windows import COUNTED_KINDS
from gourmetgram_tools.inspection.kafka_records import EventRecord, RequestRecord, read_event_records
from gourmetgram_tools.inspection.lakehouse import LakeEvent, read_lake_event
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.redis_state import Membership, memberships
from gourmetgram_tools.inspection.rows import CommentRow, DecisionRow, FlagRow, ImageRow, WaitingEvent
from gourmetgram_tools.inspection.trace import Trace, trace

_LONGEST_WINDOW_S: Final = 3600


@dataclass(frozen=True)
class EventTrace:
    """One event in every store.

    Attributes:
        outbox: row of the pending event, which may not be in Kafka yet.
        records: all its records in Kafka, duplicates included.
        row: row that was written with it; None for a view, which changes `images.views`.
        windows: sets in Redis that hold it now.
        iceberg: rows and window of the event in Iceberg; None before the first aggregation.
        triggered: requests that it triggered.
        counted_in: requests whose longest window contains it.
        decisions: decisions on `triggered` and `counted_in`.
    """

    event_id: str
    image_id: str
    kind: str
    outbox: WaitingEvent | None
    records: list[EventRecord]
    row: ImageRow | CommentRow | FlagRow | None
    windows: list[Membership]
    iceberg: LakeEvent | None
    triggered: list[RequestRecord]
    counted_in: list[RequestRecord]
    decisions: list[DecisionRow]

    def to_json(self) -> dict[str, Any]:
        """The trace as one JSON document."""
        return asdict(self)


def parse_event_id(event: str) -> str:
    """Convert a text to an event id in lower case.

    Raises:
        PermanentError: the text is no id.
    """
    event_id = parse_uuid(event.strip())
    if event_id is None:
        raise PermanentError(f"'{event}' is no event id: give the whole UUID.")
    return event_id


def trace_event(platform: Platform, event: str, image: str | None = None) -> EventTrace:
    """Trace an event.

    Args:
        platform: addresses of the stores.
        event: id of the event.
        image: id of its image, with which only one partition is read; required for an event in the outbox.

    Raises:
        PermanentError: the text is no id, or no store knows the event.
        TransientError: a store is away.
    """
    event_id = parse_event_id(event)
    if image is None:
        found = read_event_records(platform.kafka, event_id)
        if not found:
            raise PermanentError(
                f"No event topic holds {event_id}. If it may still wait in the outbox, give its image's id too."
            )
        image = found[0].image_id
    whole = trace(platform, image)
    records = [record for record in whole.records.events if record.event_id == event_id]
    outbox = next((row for row in whole.rows.outbox if row.event_id == event_id), None)
    if not records and outbox is None:
        raise PermanentError(f"Neither Kafka nor the outbox knows event {event_id} of image {whole.image_id}.")
    kind = records[0].kind if records else str(outbox.event_type if outbox else "")
    triggered = _triggered(whole, event_id)
    counted_in = _counted_in(whole, records)
    answered = {request.request_id for request in (*triggered, *counted_in)}
    return EventTrace(
        event_id=event_id,
        image_id=whole.image_id,
        kind=kind,
        outbox=outbox,
        records=records,
        row=_row(whole, records[0].row_id if records else None),
        windows=memberships(platform.redis, whole.image_id, kind, event_id),
        iceberg=read_lake_event(platform.iceberg, records[0]) if records else None,
        triggered=triggered,
        counted_in=counted_in,
        decisions=[row for row in whole.rows.decisions if row.request_id in answered],
    )


def _triggered(whole: Trace, event_id: str) -> list[RequestRecord]:
    return [
        request
        for request in whole.records.requests
        if not request.copy and request.request_id == request_uuid(whole.image_id, request.trigger, event_id)
    ]


def _counted_in(whole: Trace, records: list[EventRecord]) -> list[RequestRecord]:
    """Requests whose longest window holds the event, and whose `read_to` includes it."""
    if not records or not records[0].actor_eligible or records[0].kind not in COUNTED_KINDS:
        return []
    event = records[0]
    found = []
    for request in whole.records.requests:
        age_s = (request.time - event.event_time).total_seconds()
        read_to = request.context.get("read_to")
        was_read = not isinstance(read_to, dict) or event.offset < read_to.get(event.topic, 0)
        if not request.copy and 0 <= age_s < _LONGEST_WINDOW_S and was_read:
            found.append(request)
    return found


def _row(whole: Trace, row_id: str | None) -> ImageRow | CommentRow | FlagRow | None:
    candidates: list[ImageRow | CommentRow | FlagRow] = [*whole.rows.comments, *whole.rows.flags]
    if whole.rows.image:
        candidates.append(whole.rows.image)
    return next((row for row in candidates if row.id == row_id), None)
