"""Kafka messages as rows of `events`: the result of `parse_event`, in a fraction of its time.

Messages of the platform's own services take the fast path: Arrow reads, checks and converts whole batches. Any other
message is read by `gourmetgram.events.parse_event`, which alone decides its meaning.
"""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from gourmetgram.events import (
    EARLIEST_EVENT_US,
    EVENT_KINDS,
    MAX_FUTURE_US,
    BadMessage,
    Event,
    Record,
    parse_event,
    parse_uuid,
)
from gourmetgram.kafka.records import to_record
from gourmetgram.lakehouse.schemas import EVENTS_DEFINITION

_TIME: Final = pa.timestamp("us", tz="UTC")
_KINDS: Final = pa.array(EVENT_KINDS, pa.string())
# All columns of `events` except `ingested_at`, which the run sets.
_SCHEMA: Final = pa.schema([field for field in EVENTS_DEFINITION.arrow_schema if field.name != "ingested_at"])

# Stricter than `parse_event` on purpose: a message that does not match only takes the slow path.
_LOWER_UUID: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_PLAIN_TIME: Final = r"^[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?(Z|\+00:00)$"

USUAL_FIELDS: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("event_type", "event_id", "image_id", "user_id", "comment_id", "flag_id")),
        *((name, pa.string()) for name in ("viewed_at", "created_at")),
        *((name, pa.string()) for name in ("category", "caption", "s3_url", "content", "reason")),
        ("actor_eligible", pa.bool_()),
    ]
)
"""Every field that the platform writes into an event. A message with any other field, or another type of value, takes
the slow path. So numbers and nested values never take the fast path: JSON readers differ in what they accept there."""

_USUAL_BYTES: Final = 4_096
_FEW: Final = 32
"""A batch with an unusual message is halved until it has so few messages; these are read one by one."""


class ParsedBatch(NamedTuple):
    """Rows of `events`, and the number of skipped messages.

    Attributes:
        rows: the columns of `events` without `ingested_at`, in no particular order.
        bad: number of skipped messages by reason.
    """

    rows: pa.Table
    bad: Counter[str]


class _UnusualError(ValueError):
    """A batch holds a message that the platform does not write."""


def parse_messages(messages: Sequence[Message]) -> ParsedBatch:
    """Parse consumed messages (without errors) of the event topics."""
    tables, unusual = _usual_rows(messages)
    if not unusual:
        return ParsedBatch(pa.concat_tables(tables), Counter())
    slow = parse_slowly([to_record(message) for message in unusual])
    return ParsedBatch(pa.concat_tables([*tables, slow.rows]), slow.bad)


def parse_slowly(records: Iterable[Record]) -> ParsedBatch:
    """Parse records one by one: the reference for the fast path."""
    bad: Counter[str] = Counter()
    rows = []
    for record in records:
        event = parse_event(record)
        if isinstance(event, BadMessage):
            bad[event.reason] += 1
        else:
            rows.append(_row(record, event))
    return ParsedBatch(pa.Table.from_pylist(rows, schema=_SCHEMA), bad)


def _usual_rows(messages: Sequence[Message]) -> tuple[list[pa.Table], list[Message]]:
    """Rows of the usual messages, and the other messages."""
    if not messages:
        return [_SCHEMA.empty_table()], []
    try:
        rows, passed = _convert(messages, _read_json(messages))
    except (pa.ArrowException, ValueError):
        if len(messages) <= _FEW:
            return [_SCHEMA.empty_table()], list(messages)
        half = len(messages) // 2
        (first, unusual), (second, more) = _usual_rows(messages[:half]), _usual_rows(messages[half:])
        return first + second, unusual + more
    if pc.all(passed).as_py():
        return [rows], []
    refused = pc.indices_nonzero(pc.invert(passed)).to_pylist()
    return [rows.filter(passed)], [messages[index] for index in refused]


def _read_json(messages: Sequence[Message]) -> pa.Table:
    """The messages' fields as columns, one row a message.

    Raises:
        ValueError, pa.ArrowException: a message is not one JSON object of the usual fields.
    """
    values = list(map(Message.value, messages))
    if None in values or max(map(len, values)) > _USUAL_BYTES:  # type: ignore[arg-type] # no longer None there
        raise _UnusualError("a message has no value, or a long one")
    lines = b"\n".join(values)  # type: ignore[arg-type]
    joints = len(values) - 1
    # Each message begins and ends like an object, and none contains a line break, so none is empty. With as many rows
    # as messages, each message is one row.
    if not (lines.startswith(b'{"') and lines.endswith(b"}") and lines.count(b'}\n{"') == lines.count(b"\n") == joints):
        raise _UnusualError("a message is no object on one line")
    if not lines.isascii():
        lines.decode()  # Arrow does not check for UTF-8.
    table = pj.read_json(
        io.BytesIO(lines),
        # One block on this thread: the other core decompresses the next messages.
        pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        pj.ParseOptions(explicit_schema=USUAL_FIELDS, unexpected_field_behavior="error"),
    )
    if table.num_rows != len(values):
        raise _UnusualError("a message holds several objects")
    return table


def _convert(messages: Sequence[Message], fields: pa.Table) -> tuple[pa.Table, pa.ChunkedArray]:
    """Convert messages to rows of `events`, with a mask of the valid ones.

    Raises:
        ValueError, pa.ArrowException: a value cannot be converted, like the 30th of February.
    """
    stamps, record_ms = zip(*map(Message.timestamp, messages), strict=True)
    if TIMESTAMP_NOT_AVAILABLE in stamps:
        raise _UnusualError("a message has no time of the broker's")
    times = pc.coalesce(fields["viewed_at"], fields["created_at"])
    plain = pc.match_substring_regex(times, _PLAIN_TIME)
    event_times = pc.if_else(plain, times, None).cast(_TIME)
    record_times = pc.multiply(pa.array(record_ms, pa.int64()), 1000)
    event_us = event_times.cast(pa.int64())
    checks = (
        pc.is_in(fields["event_type"], _KINDS),
        *(pc.match_substring_regex(fields[name], _LOWER_UUID) for name in ("event_id", "image_id")),
        pc.less_equal(pc.subtract(event_us, record_times), MAX_FUTURE_US),
        pc.greater_equal(event_us, EARLIEST_EVENT_US),
    )
    passed = checks[0]
    for check in checks[1:]:
        passed = pc.and_(passed, check)
    rows = pa.Table.from_arrays(
        [
            *(fields[name] for name in ("event_id", "event_type", "image_id")),
            *(_text_ids(fields[name]) for name in ("user_id", "comment_id", "flag_id")),
            pc.fill_null(fields["actor_eligible"], True),
            event_times,
            record_times.cast(_TIME),
            pa.array(map(Message.topic, messages), pa.string()),
            pa.array(map(Message.partition, messages), pa.int32()),
            pa.array(map(Message.offset, messages), pa.int64()),
        ],
        schema=_SCHEMA,
    )
    return rows, pc.fill_null(passed, False)


def _text_ids(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as received, except that UUIDs are in lower case."""
    if texts.null_count == len(texts):
        return texts
    is_uuid = pc.match_substring_regex(texts, _LOWER_UUID, ignore_case=True)
    return pc.if_else(is_uuid, pc.ascii_lower(texts), texts)


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
    """Text of an id; an id of another type is kept as its JSON."""
    if value is None or isinstance(value, str):
        return parse_uuid(value) or value
    return orjson.dumps(value).decode()
