"""A batch of records as one Redis call wants it: parsed, checked, grouped by image and kind."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gourmetgram.events import BadMessage, Event, EventKind, Record, parse_event, parse_uuid
from gourmetgram.features.definition import category_name
from gourmetgram.moments import HOUR_US, SECOND_US
from stream_consumer.partitions import TopicPartition, field_of

WINDOW_KINDS: Final[Mapping[EventKind, str]] = {"view": "views", "comment": "comments", "flag": "flags"}
"""The kinds that are counted in windows, and what their keys are called."""


class Accepted(NamedTuple):
    """An event that changes keys, and where it stood."""

    event: Event
    partition: TopicPartition
    offset: int


class Rejected(NamedTuple):
    """A record that goes to the dead-letter topic."""

    record: Record
    error: str


class Span(NamedTuple):
    """A partition's part of a batch.

    Attributes:
        start: offset of its first record.
        end: next offset after its last record.
        broker_time_us: broker time of its last record.
    """

    start: int
    end: int
    broker_time_us: int


@dataclass(slots=True)
class Batch:
    """What a look at the broker brought.

    Attributes:
        spans: per partition.
        accepted: eligible events in the order of arrival, each event_id once.
        rejected: bad messages.
        ineligible: number of events, by kind, that count for nothing.
        repeated: number of events whose id came earlier in the same batch.
        events: number of good events by kind, all included.
        records: number of records by topic.
    """

    spans: dict[TopicPartition, Span]
    accepted: list[Accepted]
    rejected: list[Rejected]
    ineligible: Counter[EventKind]
    repeated: int
    events: Counter[EventKind]
    records: Counter[str]


def read_batch(records: Sequence[Record]) -> Batch:
    """Parse records; within a partition they come in offset order."""
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []
    ineligible: list[EventKind] = []
    kinds: list[EventKind] = []
    ids: set[str] = set()
    spans = _spans(records)
    named: dict[tuple[str, int], TopicPartition] = {partition: partition for partition in spans}
    for record in records:
        event = parse_event(record)
        if isinstance(event, BadMessage):
            rejected.append(Rejected(record, event.error))
            continue
        kinds.append(event.kind)
        if not event.actor_eligible:
            ineligible.append(event.kind)
        elif event.event_id not in ids:
            ids.add(event.event_id)
            accepted.append(Accepted(event, named[record.topic, record.partition], record.offset))
    return Batch(
        spans=spans,
        accepted=accepted,
        rejected=rejected,
        ineligible=Counter(ineligible),
        repeated=len(kinds) - len(ineligible) - len(accepted),
        events=Counter(kinds),
        records=Counter([record.topic for record in records]),
    )


def _spans(records: Sequence[Record]) -> dict[TopicPartition, Span]:
    # Plain tuples as keys: a named one for each record would cost a tenth of parsing it.
    lasts = {(record.topic, record.partition): record for record in records}
    firsts = {(record.topic, record.partition): record.offset for record in reversed(records)}
    return {
        TopicPartition(*place): Span(firsts[place], last.offset + 1, last.broker_time_us)
        for place, last in lasts.items()
    }


class Group(NamedTuple):
    """The events of one kind on one image, at places `first` to `last` (1-based) of a call's events.

    Attributes:
        newest_us: the newest event time among them.
        floor_us: the earliest time for which events that have not been read may still ask, if there are any.
    """

    image_id: str
    kind: str
    first: int
    last: int
    newest_us: int
    floor_us: int | None


class Call(NamedTuple):
    """The variable part of a call to apply.lua.

    Attributes:
        header: goes into the JSON header.
        ids: 16 bytes per event.
        members: score and member in turn, per event of a group.
        groups: the header's groups.
        events: the events in the call's order: those of the groups, then the uploads.
    """

    header: dict[str, Any]
    ids: list[bytes]
    members: list[str]
    groups: list[Group]
    events: list[Accepted]


def build_call(
    accepted: Iterable[Accepted],
    positions: Mapping[TopicPartition, tuple[int, int]],
    floors: Mapping[int, int],
) -> Call:
    """Group events by image and kind.

    Args:
        accepted: events in the order of arrival.
        positions: per partition of the batch, the offset applied so far and the one after this batch.
        floors: per partition number, the earliest time for which events that have not been read may still ask.
    """
    grouped: dict[tuple[str, str], list[Accepted]] = {}
    uploads: list[Accepted] = []
    for item in accepted:
        event = item.event
        kind = WINDOW_KINDS.get(event.kind)
        if kind is None:
            uploads.append(item)
            continue
        key = (event.image_id, kind)
        if key in grouped:
            grouped[key].append(item)
        else:
            grouped[key] = [item]
    groups, events = _in_order(grouped, floors)
    members = _members(events)
    events += uploads
    hours, hour_of = _hours(events)
    numbers = {partition: number for number, partition in enumerate(positions, 1)}
    header = {
        "size": len(events),
        "positions": [
            [field_of(partition), str(expected), str(end), *partition]
            for partition, (expected, end) in positions.items()
        ],
        "hours": hours,
        "hour_of": hour_of,
        "history": [place for place, item in enumerate(events, 1) if item.event.is_history],
        "source": [numbers[item.partition] for item in events],
        "offsets": [item.offset for item in events],
        "groups": [tuple(group) for group in groups],
        "uploads": [_upload(item.event, len(events) - len(uploads) + n) for n, item in enumerate(uploads, 1)],
    }
    ids = [bytes.fromhex(item.event.event_id.replace("-", "")) for item in events]
    return Call(header, ids, members, groups, events)


def _in_order(
    grouped: Mapping[tuple[str, str], list[Accepted]], floors: Mapping[int, int]
) -> tuple[list[Group], list[Accepted]]:
    groups: list[Group] = []
    events: list[Accepted] = []
    for (image_id, kind), members in grouped.items():
        first = len(events) + 1
        events += members
        newest = max([item.event.time_us for item in members])
        groups.append(Group(image_id, kind, first, len(events), newest, floors.get(members[0].partition[1])))
    return groups, events


def _hours(events: Iterable[Accepted]) -> tuple[list[str], list[int]]:
    """The hours of the events' times, and for each event which of them, 1-based (empty when there is only one)."""
    numbers: dict[int, int] = {}
    hour_of = [numbers.setdefault(item.event.time_us // HOUR_US, len(numbers) + 1) for item in events]
    return [str(hour) for hour in numbers], hour_of if len(numbers) > 1 else []


def _members(events: Iterable[Accepted]) -> list[str]:
    """Score and member in turn. The hottest lines of the service: `unix_text` in place, for times after 1970."""
    members: list[str] = []
    for item in events:
        event = item.event
        time_us = event.time_us
        score = f"{time_us // SECOND_US}.{time_us % SECOND_US:06d}" if time_us >= 0 else unix_text(time_us)
        members.append(score)
        members.append(f"{event.kind}:{score}:{event.event_id[:8]}")
    return members


def _upload(event: Event, index: int) -> dict[str, Any]:
    category, caption = event.payload.get("category"), event.payload.get("caption")
    return {
        "index": index,
        "image": event.image_id,
        "category": category_name(category if isinstance(category, str) else None),
        "caption_length": str(len(caption)) if isinstance(caption, str) else "0",
        "uploaded_at": unix_text(event.time_us),
        # An id that is no UUID names nobody.
        "user_id": parse_uuid(event.payload.get("user_id")) or "",
    }


def unix_text(time_us: int) -> str:
    """Unix seconds with six decimals, exact: `1763700000.123456`."""
    sign = ""
    if time_us < 0:
        sign, time_us = "-", -time_us
    return f"{sign}{time_us // SECOND_US}.{time_us % SECOND_US:06d}"
