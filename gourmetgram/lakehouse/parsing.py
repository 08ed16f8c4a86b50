"""Kafka messages as rows of `events`: the result of `parse_event`, in less than half of its time.

What the platform's own services write takes the fast way: whole columns are checked and converted by Arrow. Every
message that is unusual in any respect is read by `gourmetgram.events.parse_event`, which alone decides what it means.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from gourmetgram.events import EVENT_KINDS, MAX_FUTURE_US, BadMessage, Event, Record, parse_event, parse_uuid
from gourmetgram.kafka import to_record
from gourmetgram.lakehouse.schemas import EVENTS_DEFINITION

_TIME: Final = pa.timestamp("us", tz="UTC")
_KINDS: Final = frozenset(EVENT_KINDS)
# All columns of `events` except `ingested_at`, which is the run's.
_SCHEMA: Final = pa.schema([field for field in EVENTS_DEFINITION.arrow_schema if field.name != "ingested_at"])

# Stricter than `parse_event` on purpose: a message that does not match only takes the slow way.
_LOWER_UUID: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_PLAIN_TIME: Final = r"^[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?(Z|\+00:00)$"

_MAX_CACHED_IMAGES: Final = 100_000


class ParsedBatch(NamedTuple):
    """Rows of `events` and what was left out.

    Attributes:
        rows: the columns of `events` without `ingested_at`, in no particular order.
        bad: number of skipped messages by reason.
    """

    rows: pa.Table
    bad: Counter[str]


class _Columns(NamedTuple):
    """Fields as the messages had them, one entry a message; `sources` are the messages themselves."""

    sources: list[Message]
    event_ids: list[Any]
    event_types: list[str]
    image_ids: list[str]
    user_ids: list[Any]
    comment_ids: list[Any]
    flag_ids: list[Any]
    record_ms: list[int]
    eligible: list[bool]
    times: list[Any]


class MessageParser:
    """Turns batches of messages into rows; remembers image ids known to be well formed, as most events share few."""

    def __init__(self) -> None:
        self._image_ids: dict[str, str] = {}

    def parse(self, messages: Iterable[Message]) -> ParsedBatch:
        """Read consumed messages (without errors) of the event topics."""
        columns = _Columns([], [], [], [], [], [], [], [], [], [])
        unusual = self._collect(messages, columns)
        rows, refused = _convert(columns)
        unusual += refused
        if not unusual:
            return ParsedBatch(rows, Counter())
        slow = parse_slowly([to_record(message) for message in unusual])
        return ParsedBatch(pa.concat_tables([rows, slow.rows]), slow.bad)

    def _collect(self, messages: Iterable[Message], columns: _Columns) -> list[Message]:
        """Put the fields of usual messages into columns; returns the other messages."""
        if len(self._image_ids) > _MAX_CACHED_IMAGES:
            self._image_ids.clear()
        # Local names: this loop is the aggregation's hottest.
        known, loads, not_available = self._image_ids, orjson.loads, TIMESTAMP_NOT_AVAILABLE
        sources, event_ids, event_types, image_ids, user_ids, comment_ids, flag_ids, record_ms, eligible, times = (
            columns
        )
        unusual = []
        for message in messages:
            try:
                get = loads(message.value()).get  # type: ignore[arg-type] # None raises what is caught below
                kind = get("event_type")
                image_id = known.get(get("image_id")) or self._well_formed(get("image_id"))
                stamp, stamp_ms = message.timestamp()
                usual = kind in _KINDS and image_id is not None and stamp != not_available
            except (orjson.JSONDecodeError, AttributeError, TypeError):
                # Not JSON, not an object, or a field that cannot be a key.
                usual = False
            if not usual:
                unusual.append(message)
                continue
            time = get("viewed_at")
            sources.append(message)
            event_ids.append(get("event_id"))
            event_types.append(kind)
            image_ids.append(image_id)  # type: ignore[arg-type] # usual ones have an image
            user_ids.append(get("user_id"))
            comment_ids.append(get("comment_id"))
            flag_ids.append(get("flag_id"))
            record_ms.append(stamp_ms)
            eligible.append(get("actor_eligible") is not False)
            times.append(get("created_at") if time is None else time)
        return unusual

    def _well_formed(self, value: object) -> str | None:
        image_id = parse_uuid(value)
        if image_id is not None:
            self._image_ids[str(value)] = image_id
        return image_id


def _convert(columns: _Columns) -> tuple[pa.Table, list[Message]]:
    """Check and convert whole columns; returns the rows that passed and the messages of those that did not."""
    sources = columns.sources
    try:
        event_ids = pa.array(columns.event_ids, pa.string())
        times = pa.array(columns.times, pa.string())
        plain = pc.match_substring_regex(times, _PLAIN_TIME)
        # One impossible date sends the whole batch the slow way, as does a number where a text belongs.
        event_times = pc.if_else(plain, times, None).cast(_TIME)
        ids = [_text_ids(values) for values in (columns.user_ids, columns.comment_ids, columns.flag_ids)]
    except (pa.ArrowException, TypeError):
        return _SCHEMA.empty_table(), list(sources)
    record_times = pc.multiply(pa.array(columns.record_ms, pa.int64()), 1000)
    ahead = pc.subtract(event_times.cast(pa.int64()), record_times)
    passed = pc.and_(pc.match_substring_regex(event_ids, _LOWER_UUID), pc.less_equal(ahead, MAX_FUTURE_US))
    rows = pa.Table.from_arrays(
        [
            event_ids,
            pa.array(columns.event_types, pa.string()),
            pa.array(columns.image_ids, pa.string()),
            *ids,
            pa.array(columns.eligible, pa.bool_()),
            event_times,
            record_times.cast(_TIME),
            pa.array([message.topic() for message in sources], pa.string()),
            pa.array([message.partition() for message in sources], pa.int32()),
            pa.array([message.offset() for message in sources], pa.int64()),
        ],
        schema=_SCHEMA,
    )
    passed = pc.fill_null(passed, False)
    if pc.all(passed, min_count=0).as_py():
        return rows, []
    refused = pc.indices_nonzero(pc.invert(passed)).to_pylist()
    return rows.filter(passed), [sources[index] for index in refused]


def _text_ids(values: list[Any]) -> pa.Array:
    """Ids as received, except that UUIDs are in lower case."""
    texts = pa.array(values, pa.string())
    if texts.null_count == len(texts):
        return texts
    is_uuid = pc.match_substring_regex(texts, _LOWER_UUID, ignore_case=True)
    return pc.if_else(is_uuid, pc.ascii_lower(texts), texts)


def parse_slowly(records: Iterable[Record]) -> ParsedBatch:
    """Read records one by one: what the fast way must equal."""
    bad: Counter[str] = Counter()
    rows = []
    for record in records:
        event = parse_event(record)
        if isinstance(event, BadMessage):
            bad[event.reason] += 1
        else:
            rows.append(_row(record, event))
    return ParsedBatch(pa.Table.from_pylist(rows, schema=_SCHEMA), bad)


def _row(record: Record, event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "event_type": event.kind,
        "image_id": event.image_id,
        "user_id": _text_id(event.payload.get("user_id")),
        "comment_id": _text_id(event.payload.get("comment_id")),
        "flag_id": _text_id(event.payload.get("flag_id")),
        "actor_eligible": event.actor_eligible,
        # Arrow reads an integer as microseconds.
        "event_time": event.time_us,
        "record_time": event.broker_time_us,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }


def _text_id(value: object) -> str | None:
    """An id that is no text is kept as its JSON."""
    if value is None or isinstance(value, str):
        return parse_uuid(value) or value
    return orjson.dumps(value).decode()
