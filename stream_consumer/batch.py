"""A batch of records for Redis: parsed, checked, and grouped by image and kind into one call."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import orjson

from gourmetgram.clients.redis_servers import is_at_home
from gourmetgram.events import BadMessage, Event, EventKind, Record, parse_event, parse_uuid
from gourmetgram.features.definition import category_name
from gourmetgram.kafka.dead_letters import RejectedRecord
from gourmetgram.kafka.partitions import Partition
from gourmetgram.moments import HOUR_US, SECOND_US, unix_text
from gourmetgram.windows import COUNTED_KINDS, CountedKind
from stream_consumer.continuity import LastRecord

_MISPLACED: Final = BadMessage(
    "the image belongs to another partition: the record has no key, or another one", "wrong partition"
)


class EligibleEvent(NamedTuple):
    """An event by an eligible actor, and its record."""

    event: Event
    record: Record


class BatchSpan(NamedTuple):
    """Part of a partition that a batch covers.

    Attributes:
        start: offset of the first record.
        end: next offset after the last record.
        broker_time_us: broker time of the last record.
        last: the last record, as Redis keeps it beside the offset.
    """

    start: int
    end: int
    broker_time_us: int
    last: str = ""


@dataclass(slots=True)
class EventBatch:
    """Records of one poll, parsed.

    Attributes:
        eligible: eligible events in the order of arrival, each event_id once.
        rejected: malformed messages.
        spans: covered offsets of each partition.
        ineligible: number of events by ineligible actors, by kind.
        repeated: number of events whose id came earlier in the same batch.
        events: number of valid events by kind, all included.
        records: number of records by topic.
    """

    eligible: list[EligibleEvent]
    rejected: list[RejectedRecord] = field(default_factory=list)
    spans: dict[Partition, BatchSpan] = field(default_factory=dict)
    ineligible: Counter[EventKind] = field(default_factory=Counter)
    repeated: int = 0
    events: Counter[EventKind] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)


class EventGroup(NamedTuple):
    """Events of one kind on one image, at places `first` to `last` (1-based) of the events of a call.

    Attributes:
        newest_us: newest event time among them.
        horizon_us: retention horizon, see `retention`; None when no unread event may need older counts.
    """

    image_id: str
    kind: CountedKind
    first: int
    last: int
    newest_us: int
    horizon_us: int | None


class BatchCall(NamedTuple):
    """One call of apply.lua.

    Attributes:
        batch: the batch to apply.
        groups: events by image and kind, without uploads.
        events: events of the groups, then the uploads.
        arguments: arguments after the vocabulary: JSON, then 16 bytes per event, then score and member of each event
            of a group.
        positions: per partition of the batch, the offset applied before it and the next one after it.
        horizons: per partition number, the retention horizon.
    """

    batch: EventBatch
    groups: list[EventGroup]
    events: list[EligibleEvent]
    arguments: list[bytes | str]
    positions: Mapping[Partition, tuple[int, int]]
    horizons: Mapping[int, int]

    def without(self, places: Collection[int]) -> "BatchCall":
        """The same call without the events at these places (1-based)."""
        rest = [item for place, item in enumerate(self.events, 1) if place not in places]
        return build_call(replace(self.batch, eligible=rest), self.positions, self.horizons)


class SplitCall(NamedTuple):
    """The calls of one batch, by the index of their Redis server."""

    batch: EventBatch
    parts: Mapping[int, BatchCall]


def read_batch(records: Sequence[Record], servers: int = 1) -> EventBatch:
    """Parse records; within a partition they come in offset order.

    Args:
        records: the records.
        servers: number of Redis servers. With several, an event of an image that belongs to another server is rejected.
    """
    eligible: list[EligibleEvent] = []
    rejected: list[RejectedRecord] = []
    ineligible: list[EventKind] = []
    kinds: list[EventKind] = []
    ids: set[str] = set()
    for record in records:
        event = parse_event(record)
        home = servers == 1 or isinstance(event, BadMessage) or is_at_home(event.image_id, record.partition, servers)
        if not home:
            event = _MISPLACED
        if isinstance(event, BadMessage):
            rejected.append(RejectedRecord(record, event))
            continue
        kinds.append(event.kind)
        if not event.actor_eligible:
            ineligible.append(event.kind)
        elif event.event_id not in ids:
            ids.add(event.event_id)
            eligible.append(EligibleEvent(event, record))
    return EventBatch(
        eligible=eligible,
        rejected=rejected,
        spans=_spans(records),
        ineligible=Counter(ineligible),
        repeated=len(kinds) - len(ineligible) - len(eligible),
        events=Counter(kinds),
        records=Counter([record.topic for record in records]),
    )


def _spans(records: Sequence[Record]) -> dict[Partition, BatchSpan]:
    # Plain tuples: a named one per record would cost more than the rest of the function.
    lasts = {(record.topic, record.partition): record for record in records}
    firsts = {(record.topic, record.partition): record.offset for record in reversed(records)}
    return {
        Partition(*place): BatchSpan(firsts[place], last.offset + 1, last.broker_time_us, str(LastRecord.of(last)))
        for place, last in lasts.items()
    }


def build_call(
    batch: EventBatch, positions: Mapping[Partition, tuple[int, int]], horizons: Mapping[int, int]
) -> BatchCall:
    """Group the events of a batch by image and kind, and form the arguments of the script.

    Args:
        batch: the batch.
        positions: see `BatchCall`.
        horizons: see `BatchCall`.
    """
    grouped: dict[tuple[str, CountedKind], list[EligibleEvent]] = {}
    uploads: list[EligibleEvent] = []
    for item in batch.eligible:
        event = item.event
        kind = event.kind
        if kind == "upload":
            uploads.append(item)
            continue
        key = (event.image_id, kind)
        if key in grouped:
            grouped[key].append(item)
        else:
            grouped[key] = [item]
    groups, events = _in_order(grouped, horizons)
    members = _members(events)
    events += uploads
    hours, hour_of = _hours(events)
    lasts = {partition: span.last for partition, span in batch.spans.items()}
    numbers: dict[tuple[str, int], int] = {partition: number for number, partition in enumerate(positions, 1)}
    header = {
        "size": len(events),
        "positions": [
            [str(partition), str(expected), str(end), *partition, lasts.get(partition, "")]
            for partition, (expected, end) in positions.items()
        ],
        "hours": hours,
        "hour_of": hour_of,
        "history": [place for place, item in enumerate(events, 1) if item.event.is_history],
        "source": [numbers[item.record.topic, item.record.partition] for item in events],
        "offsets": [item.record.offset for item in events],
        "groups": [(image_id, COUNTED_KINDS[kind], *rest) for image_id, kind, *rest in groups],
        "uploads": [_upload(item.event, len(events) - len(uploads) + n) for n, item in enumerate(uploads, 1)],
    }
    ids = [bytes.fromhex(item.event.event_id.replace("-", "")) for item in events]
    return BatchCall(batch, groups, events, [orjson.dumps(header), *ids, *members], positions, horizons)


def _in_order(
    grouped: Mapping[tuple[str, CountedKind], list[EligibleEvent]], horizons: Mapping[int, int]
) -> tuple[list[EventGroup], list[EligibleEvent]]:
    groups: list[EventGroup] = []
    events: list[EligibleEvent] = []
    for (image_id, kind), members in grouped.items():
        first = len(events) + 1
        events += members
        newest_us = max([item.event.time_us for item in members])
        horizon_us = horizons.get(members[0].record.partition)
        groups.append(EventGroup(image_id, kind, first, len(events), newest_us, horizon_us))
    return groups, events


def _hours(events: Iterable[EligibleEvent]) -> tuple[list[str], list[int]]:
    """Hours of the events' times, and for each event the number of its hour, 1-based (empty when there is only one)."""
    numbers: dict[int, int] = {}
    hour_of = [numbers.setdefault(item.event.time_us // HOUR_US, len(numbers) + 1) for item in events]
    return [str(hour) for hour in numbers], hour_of if len(numbers) > 1 else []


def _members(events: Iterable[EligibleEvent]) -> list[str]:
    """Score and member (see `event_member`) in turn, with `unix_text` in place: the hottest lines of the service."""
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
        # An id that is not a UUID belongs to no user.
        "user_id": parse_uuid(event.payload.get("user_id")) or "",
    }
