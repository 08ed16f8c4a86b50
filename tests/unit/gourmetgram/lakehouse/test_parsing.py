"""The fast way of reading messages gives what reading them one by one gives."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from gourmetgram.database.outbox import select_events, topics_by_kind
from gourmetgram.events import EVENT_KINDS, Record
from gourmetgram.kafka.records import to_record
from gourmetgram.lakehouse import parsing
from gourmetgram.lakehouse.parsing import USUAL_FIELDS, ParsedBatch, parse_messages, parse_slowly
from gourmetgram.settings import KafkaSettings

NOW_MS = 1_790_000_000_123
IDS = st.uuids(version=4).map(str)
PLACE = ("topic", "partition", "offset")


def rarely(usual: st.SearchStrategy[Any], unusual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda number: unusual if number == 0 else usual)


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip
ids = rarely(
    IDS, st.one_of(junk, IDS.map(str.upper), IDS.map(lambda text: text + "\n"), IDS.map(lambda text: text[:-1]))
)
moments = st.datetimes(
    datetime(2026, 9, 20),  # noqa: DTZ001 - the zone is put on afterwards
    datetime(2026, 9, 22),  # noqa: DTZ001
).map(lambda moment: moment.replace(tzinfo=UTC))
near = st.integers(-2_000, 2_000).map(
    lambda us: datetime.fromtimestamp(NOW_MS // 1000, UTC) + timedelta(seconds=60, microseconds=123_000 + us)
)
times = rarely(
    st.one_of(moments, near).map(lambda moment: moment.isoformat()),
    st.one_of(
        junk,
        moments.map(lambda moment: moment.isoformat().replace("+00:00", "Z")),
        moments.map(lambda moment: moment.replace(tzinfo=None).isoformat()),
        moments.map(lambda moment: moment.isoformat() + "9"),
        moments.map(lambda moment: moment.isoformat(timespec="milliseconds")),
        moments.map(lambda moment: moment.isoformat(" ")),
        st.sampled_from([
            "2026-02-30T00:00:00+00:00", "2026-09-20T24:00:00+00:00", "2026-09-20T23:59:60+00:00",
            "2026-09-20T10:00:00+05:30", "0001-01-01T00:00:00+23:59", "1999-12-31T23:59:59+00:00"
            "1969-12-31T23:59:59+00:00",
            "2026-09-20", "20260920T100000Z", "2026-09-20T10:00:00.1234567+00:00", "１026-09-20T10:00:00+00:00",
        ]),
    ),
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """A message of the platform, with rare mistakes in any field, and fields left out."""
    kind = draw(rarely(st.sampled_from(["view", "comment", "flag", "upload"]), junk))
    fields = {
        "event_type": kind,
        "event_id": draw(ids),
        "image_id": draw(ids),
        "viewed_at" if kind == "view" else "created_at": draw(times),
        "actor_eligible": draw(rarely(st.booleans(), st.one_of(st.sampled_from([0, 0.0, "", "false"]), junk))),
        "user_id": draw(ids),
        "comment_id": draw(ids),
        "flag_id": draw(rarely(st.none(), ids)),
        "timestamp": draw(st.one_of(st.none(), st.floats(1.7e9, 1.8e9))),
    }
    for name in draw(rarely(st.just([]), st.lists(st.sampled_from(sorted(fields)), max_size=3))):
        fields.pop(name, None)
    if draw(rarely(st.just(False), st.just(True))):
        fields["created_at"], fields["viewed_at"] = draw(times), draw(times)
    return fields


values = rarely(
    events().map(lambda event: json.dumps(event).encode()),
    st.one_of(
        st.none(), st.binary(max_size=8), junk.map(lambda value: json.dumps(value).encode()),
        events().map(lambda event: json.dumps(event).encode()[:-1]),
    ),
)  # fmt: skip


def message(offset: int, value: bytes | None, timestamp: tuple[int, int]) -> Message:
    return Message(topic="views", partition=offset % 3, offset=offset, value=value, timestamp=timestamp)


def in_order(parsed: ParsedBatch) -> tuple[pa.Table, dict[str, int]]:
    return parsed.rows.sort_by("offset").combine_chunks(), dict(parsed.bad)


@settings(max_examples=120)
@given(st.lists(values, max_size=12), st.booleans())
def test_columns_give_the_rows_of_single_messages(batch: list[bytes | None], dated: bool) -> None:
    timestamp = (TIMESTAMP_LOG_APPEND_TIME, NOW_MS) if dated else (TIMESTAMP_NOT_AVAILABLE, -1)
    messages = [message(offset, value, timestamp) for offset, value in enumerate(batch)]
    expected = in_order(parse_slowly([to_record(item) for item in messages]))
    assert in_order(parse_messages(messages)) == expected


BASE = {
    "event_type": "comment",
    "event_id": str(uuid.UUID(int=1, version=4)),
    "image_id": str(uuid.UUID(int=2, version=4)),
    "created_at": "2026-09-20T10:00:00+00:00",
    "user_id": str(uuid.UUID(int=3, version=4)),
}
UPPER = str(uuid.UUID(int=0xABCDEF << 90, version=4)).upper()


def of(field: str, *values: object) -> list[dict[str, object]]:
    """One change of a field for each value."""
    return [{field: value} for value in values]


CHANGES = [
    *of("actor_eligible", True, False, None, 0, 0.0, 1, "", "false", [], {}),
    *of("event_id", UPPER, None, 7, "", " " + BASE["event_id"], BASE["event_id"] + "\n", []),
    *of("image_id", UPPER, None, 7, True, "", BASE["image_id"].replace("-", ""), [], {}),
    *of("user_id", UPPER, None, 7, 7.5, True, "", "sim-user-1", "é\u0000", [1], {"a": None}),
    *of("event_type", "view", "flag", "upload", "View", None, 1, ["view"], {}),
    *of("viewed_at", "2026-09-20T11:00:00+00:00", "soon", "", 7, False, None),
    *of(
        "created_at",
        "1969-12-31T23:59:59.999999+00:00", "1970-01-01T00:00:00+00:00", "2026-09-20T10:00:00.000001Z",
        "2026-09-20T10:00:00.1+00:00", "2026-09-20T10:00:00.123456789Z", "2026-09-20T10:00:00-00:00",
        "2026-09-20T10:00:00+00:00:30", "2026-02-29T10:00:00+00:00", "2026-09-20T24:00:00Z", "2026-09-20t10:00:00z",
        *(datetime.fromtimestamp(NOW_MS / 1000 + 60 + more, UTC).isoformat() for more in (-0.001, 0, 0.001)),
        "2026-09-21T14:14:20.123001+00:00", None, 0, 1.5, True,
    ),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("timestamp", [(TIMESTAMP_LOG_APPEND_TIME, NOW_MS), (TIMESTAMP_NOT_AVAILABLE, -1)], ids=str)
def test_one_unusual_field_changes_nothing_either(change: dict[str, Any], timestamp: tuple[int, int]) -> None:
    batch = [BASE | change, BASE, {name: value for name, value in BASE.items() if name not in change}]
    messages = [message(offset, json.dumps(event).encode(), timestamp) for offset, event in enumerate(batch)]
    expected = in_order(parse_slowly([to_record(item) for item in messages]))
    assert in_order(parse_messages(messages)) == expected


LINE = json.dumps(BASE).encode()
VALUES = [
    LINE + b" ", b" " + LINE, b"\n" + LINE, LINE + b"\n", LINE.replace(b", ", b",\n"), b"\xef\xbb\xbf" + LINE,
    LINE + LINE, LINE + b"\n" + LINE, b"", b"{}", b"[" + LINE + b"]", LINE[:-1], LINE[:-1] + b",}", LINE[1:],
    LINE[:-1] + b', "user_id": null}', LINE[:-1] + b', "content": "\xff"}', LINE[:-1] + b', "content": "\\ud800"}',
    LINE[:-1] + b', "content": "a\tb"}', LINE[:-1] + b', "content": "\\u0000\\n\xc3\xa9 \\ud83c\\udf5c"}',
    LINE[:-1] + b', "content": 1e999}', LINE[:-1] + b', "other": NaN}', LINE[:-1] + b', "other": 01}',
    LINE[:-1] + b', "other": ' + 1100 * b"[" + 1100 * b"]" + b"}", LINE[:-1] + b', "content": "' + 5000 * b"x" + b'"}',
    LINE[:-1] + b', "other": {"event_type": "view"}}', LINE[:-1] + b', "EVENT_TYPE": "view"}', LINE[:-1] + b"} // ok}",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[-20:].decode(errors="replace"))
def test_one_unusual_value_among_many_changes_nothing(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [json.dumps(BASE | {"event_id": str(uuid.UUID(int=number, version=4))}).encode() for number in range(300)]
    batch = [*usual[:170], value, *usual[170:]]
    messages = [message(offset, text, (TIMESTAMP_LOG_APPEND_TIME, NOW_MS)) for offset, text in enumerate(batch)]
    expected = in_order(parse_slowly([to_record(item) for item in messages]))
    slow: list[Record] = []

    def watched(records: list[Record]) -> ParsedBatch:
        slow.extend(records)
        return parse_slowly(records)

    monkeypatch.setattr(parsing, "parse_slowly", watched)
    assert in_order(parse_messages(messages)) == expected
    assert len(slow) <= 32


@pytest.mark.parametrize("values", [(LINE + LINE, b""), (b"", LINE + b"\n" + LINE), (b" ", LINE, LINE + LINE)], ids=str)
def test_several_objects_in_one_message_never_stand_in_for_an_empty_one(values: tuple[bytes, ...]) -> None:
    messages = [message(offset, text, (TIMESTAMP_LOG_APPEND_TIME, NOW_MS)) for offset, text in enumerate(values)]
    assert in_order(parse_messages(messages)) == in_order(parse_slowly([to_record(item) for item in messages]))


def test_every_field_that_the_outbox_writes_is_a_usual_one() -> None:
    written = {
        name
        for kind, topic in topics_by_kind(KafkaSettings()).items()
        for name in re.findall(r"'(\w+)', ", select_events(kind, topic, "SELECT").split("jsonb_build_object")[1])
    }
    # Between the names stand these values.
    assert written - {*EVENT_KINDS, "UTC"} == set(USUAL_FIELDS.names)


def test_usual_messages_take_the_fast_way(monkeypatch: Any) -> None:
    def refuse(_records: object) -> ParsedBatch:
        raise AssertionError("a usual message took the slow way")

    monkeypatch.setattr(parsing, "parse_slowly", refuse)
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    usual = [
        {
            "event_type": kind,
            "event_id": str(uuid.uuid4()),
            "image_id": str(uuid.uuid4()),
            field: moment,
            "actor_eligible": True,
            "user_id": str(uuid.uuid4()),
            "comment_id": None,
        }
        for kind, field in (("view", "viewed_at"), ("comment", "created_at"))
        for moment in (now.isoformat(), now.replace(microsecond=0).isoformat(), now.isoformat()[:-6] + "Z")
    ]
    messages = [
        message(offset, json.dumps(event).encode(), (TIMESTAMP_LOG_APPEND_TIME, NOW_MS))
        for offset, event in enumerate(usual)
    ]
    assert parse_messages(messages).rows.num_rows == len(usual)


def test_events_of_thousands_of_days_before_the_platform_fall_on_the_day_of_their_broker_time() -> None:
    """A table has one partition a day: messages with made-up old times must not make as many partitions."""
    batch = [
        json.dumps(BASE | {"created_at": f"{year}-{month:02}-{day:02}T10:00:00+00:00"}).encode()
        for year in range(1000, 2020, 10)
        for month in range(1, 13)
        for day in range(1, 29)
    ]
    parsed = parse_messages([message(n, value, (TIMESTAMP_LOG_APPEND_TIME, NOW_MS)) for n, value in enumerate(batch)])
    assert parsed.rows.num_rows == len(batch)
    assert not parsed.bad
    assert parsed.rows["event_time"].unique().cast(pa.date32()).unique().to_pylist() == [
        datetime.fromtimestamp(NOW_MS // 1000, UTC).date()
    ]
