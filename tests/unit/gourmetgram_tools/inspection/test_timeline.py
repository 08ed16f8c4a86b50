"""The timeline and what is printed, from small traces written by hand."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from gourmetgram.errors import PermanentError
from gourmetgram.moments import from_us
from gourmetgram.windows import TriggerSettings
from gourmetgram_tools.cli.audit_view import print_audit
from gourmetgram_tools.cli.trace_view import print_trace, relative
from gourmetgram_tools.inspection.audit import AuditResult
from gourmetgram_tools.inspection.burst import BurstPlan, expected_triggers
from gourmetgram_tools.inspection.checks import Check, Note
from gourmetgram_tools.inspection.kafka_records import EventRecord, ImageRecords, RequestRecord
from gourmetgram_tools.inspection.lakehouse import LakeImage, LakeTrainingRow, LakeWindow
from gourmetgram_tools.inspection.redis_state import RedisKey
from gourmetgram_tools.inspection.rows import CommentRow, DecisionRow, ImageRow, ImageRows
from gourmetgram_tools.inspection.timeline import build_timeline, milliseconds, notable
from gourmetgram_tools.inspection.trace import Trace

IMAGE = "11111111-1111-4111-8111-111111111111"
T0 = datetime(2027, 1, 15, 8, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def event(kind: str, seconds: float, offset: int, row_id: str | None = None) -> EventRecord:
    return EventRecord(
        f"gourmetgram.{kind}s", 1, offset, at(seconds + 0.004), kind, f"{kind}-{offset}", IMAGE, at(seconds),
        actor_eligible=True, row_id=row_id, copy=False, api=True,
    )  # fmt: skip


IMAGE_ROW = ImageRow(IMAGE, "user", "http://x/b/k.jpg", "user_upload", "Soup", None, 110, T0, None)
REQUEST = RequestRecord(
    "gourmetgram.moderation_requests", 1, 0, at(120), "request", IMAGE, "viral", at(119.99),
    {"views_5min": 100, "read_to": {"gourmetgram.views": 100}}, copy=False,
)  # fmt: skip
DECISION = DecisionRow(
    "row", "request", "viral", 0.2, "SAFE", "heuristic", None, None, "v1", "views: views_5min=101",
    {"views_5min": 101, "category_Soup": 1, "flags_5min": 0}, at(120.5),
)  # fmt: skip
ROWS = ImageRows(IMAGE_ROW, None, [], [], [], [DECISION], [])
RECORDS = ImageRecords(1, [event("view", number, number) for number in range(1, 111)], [REQUEST], [])


def test_of_many_events_the_first_the_powers_of_ten_and_the_last_are_notable() -> None:
    assert [number for number, _ in notable(range(110))] == [1, 10, 100, 110]
    assert [number for number, _ in notable(range(13))] == [1, 10, 13]
    assert [number for number, _ in notable(range(12))] == list(range(1, 13))
    assert notable([]) == []


def test_the_timeline_joins_all_stores_in_the_order_of_time() -> None:
    moments = build_timeline(ROWS, None, RECORDS, [])
    assert [found.what for found in moments] == [
        "image row", "view 1 of 110", "view 10 of 110", "view 100 of 110", "view 110 of 110", "request viral",
        "decision viral: 0.20 SAFE",
    ]  # fmt: skip
    assert moments[1].detail == "views/1@1 · +4 ms"
    assert moments[5].detail == "moderation_requests/1@0 · +10 ms after t · views_5min=100"


def test_a_copy_of_an_event_is_no_second_moment() -> None:
    records = replace(RECORDS, events=[*RECORDS.events, replace(RECORDS.events[0], copy=True, offset=999)])
    assert build_timeline(ROWS, None, records, []) == build_timeline(ROWS, None, RECORDS, [])


def test_a_comment_without_its_event_stands_out() -> None:
    comment = CommentRow("comment-id", "user", "nice", True, False, at(3), None)
    moments = build_timeline(replace(ROWS, comments=[comment]), None, RECORDS, [])
    assert ("comment without event", "comment-id") in [(found.what, found.detail) for found in moments]
    with_event = replace(RECORDS, events=[event("comment", 3, 0, "comment-id")])
    moments = build_timeline(replace(ROWS, comments=[comment]), None, with_event, [])
    assert [found.detail for found in moments if "comment" in found.what] == ["comments/1@0 · +4 ms · nice"]


def test_the_alert_without_a_request_comes_from_its_key() -> None:
    key = RedisKey(f"image:{IMAGE}:alert:popular", "string", 17, 3600, f"{at(60).timestamp():.6f}")
    assert (at(60), "popular") in [(found.at, found.what) for found in build_timeline(ROWS, None, RECORDS, [key])]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "+0.000 s"), (-2.5, "-2.500 s"), (99.9996, "+100.000 s"), (150, "+2.5 min"), (7200, "+2.0 h"),
     (200_000, "+2.3 days")],
)  # fmt: skip
def test_relative_times_are_short(seconds: float, text: str) -> None:
    assert relative(timedelta(seconds=seconds)) == text


def test_delays_are_milliseconds_until_they_are_long() -> None:
    assert milliseconds(timedelta(milliseconds=12.4)) == "+12 ms"
    assert milliseconds(timedelta(seconds=-0.001)) == "-1 ms"
    assert milliseconds(timedelta(minutes=2)) == "+120 s"


def test_microseconds_become_exact_times() -> None:
    assert from_us(1_800_000_000_123_457) == datetime(2027, 1, 15, 8, 0, 0, 123_457, tzinfo=UTC)
    assert from_us(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


LAKE = LakeImage(
    events={"upload": 1, "view": 40},
    records=42,
    windows=[LakeWindow("view", at(300 * n), at(300 * n + 300), 2, 2 - n % 2) for n in range(20)],
    training=[LakeTrainingRow(minutes, at(60 * minutes), label, at(86_400), 1, 2, 3, 4, at(7_200) if label else None)
              for minutes, label in ((0, 1), (5, 0), (30, None))],
)  # fmt: skip


def text_of(width: int = 100) -> str:
    output = StringIO()
    found = Trace(IMAGE, ROWS, None, RECORDS, [], LAKE, [], build_timeline(ROWS, None, RECORDS, []))
    print_trace(Console(file=output, width=width, highlight=False), found)
    return output.getvalue()


def test_a_printed_trace_names_score_reason_and_features_within_a_hundred_columns() -> None:
    page = text_of()
    assert max(map(len, page.splitlines())) <= 100
    for expected in ("score 0.20 SAFE", "because views: views_5min=101", "category_Soup=1", "read to views@100"):
        assert expected in page
    assert "The object store has no object of this image." in page
    assert "Iceberg: 1 uploads, 40 views in 42 rows of event_aggregations.events" in page
    assert "(8 more windows before the last)" in page and "2 events, 1 eligible" in page
    assert re.search(r"label 1 \(first flagged [^)]+\),\s+views_5min=1", page) and "label not known yet" in page


def test_a_printed_audit_shows_examples_and_how_many_more_there_are() -> None:
    checks = (
        Check("flags", "each flag row has one flag event, and back", 3, 3, ()),
        Check("totals", "total_* = distinct events", 9, 2, tuple(f"key {number}" for number in range(7))),
    )
    result = AuditResult(checks, (Note("dead letters", 2, ("why",)),), ("a table",), 12, 1.0, 0.5)
    output = StringIO()
    print_audit(Console(file=output, width=100, highlight=False), result, examples=5)
    page = output.getvalue()
    assert "totals: key 4" in page and "key 5" not in page and "… and 2 more" in page
    assert "7 differences." in page and "Note: 2 dead letters" in page
    assert "Not compared: a table." in page
    assert result.to_json()["ok"] is False
    assert result.to_json()["skipped"] == ["a table"]
    assert [check["ok"] for check in result.to_json()["checks"]] == [True, False]


def test_a_burst_expects_the_triggers_whose_thresholds_it_reaches() -> None:
    rules = TriggerSettings()
    assert expected_triggers(BurstPlan(), rules) == ["viral", "flagged"]
    assert expected_triggers(BurstPlan(views=99, comments=10, flags=1), rules) == ["suspicious"]
    with pytest.raises(PermanentError, match="below every threshold"):
        expected_triggers(BurstPlan(views=1, comments=1, flags=1), rules)
