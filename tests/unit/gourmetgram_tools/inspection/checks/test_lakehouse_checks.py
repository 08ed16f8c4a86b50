"""Rows of Iceberg compared to the records of Kafka that they stand for."""

import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from gourmetgram.lakehouse.parsing import parse_slowly
from gourmetgram_tools.inspection.checks import Check
from gourmetgram_tools.inspection.kafka_reading import Keyed
from gourmetgram_tools.inspection.lakehouse import AUDITED_COLUMNS, AUDITED_EVENTS
from gourmetgram_tools.inspection.tables import StoreTables, open_tables
from tests.support.hand_made_stores import HOME, KINDS, checked, hand_made_stores, keyed

OTHER = str(uuid.UUID(int=77, version=4))
NOT_EVENTS = "are in event_aggregations.events, but no readable record below its offsets"
COMMENT = str(uuid.UUID(int=5, version=4))


def comment(offset: int, **fields: Any) -> Keyed:
    return keyed(offset, kind="comment", **{"comment_id": COMMENT, **fields})


def aggregated(records: Sequence[Keyed]) -> list[tuple[Any, ...]]:
    """The rows of table `lake_events` that the aggregation's rows of these records become."""
    with open_tables() as tables:
        load_aggregated(tables, records)
        return [tuple(str(value) if isinstance(value, uuid.UUID) else value for value in row)
                for row in tables.rows("FROM lake_events")]  # fmt: skip


def load_aggregated(tables: StoreTables, records: Sequence[Keyed]) -> None:
    rows: pa.Table = parse_slowly(record for _, record in records).rows.select(list(AUDITED_COLUMNS))
    tables.load_arrow("lake_events", rows, AUDITED_EVENTS)


def compared(known: Sequence[Keyed], rows: Sequence[Keyed], below: int = 100, first: int = 0, end: int = 1000) -> Check:
    """Compare records of Kafka, which holds offsets [first, end), to rows, of an aggregation up to offset `below`."""
    places = [(f"{kind}s", partition) for kind in KINDS for partition in range(4)]
    fill = {"lake_events": aggregated(rows), "lake_offsets": [(*place, below) for place in places]}
    with hand_made_stores(known, fill=fill, spans=[(*place, first, end) for place in places]) as tables:
        return checked(tables, "iceberg events")


def test_rows_that_equal_their_records_have_no_difference() -> None:
    records = [keyed(0), keyed(1), comment(0), keyed(0, kind="upload"), keyed(2, actor_eligible=False)]
    assert compared(records, records).differences == ()
    assert compared(records, list(reversed(records))).differences == ()


def test_neighbours_with_the_same_fault_are_one_sentence() -> None:
    records = [keyed(offset) for offset in (0, 1, 3, 4, 8, 9)]
    place = f"views/{HOME}"
    assert compared(records, [records[0], *records[4:], records[5]]).differences == (
        f"{place}@1 to @4, 3 records, are missing in event_aggregations.events",
        f"{place}@9 is in event_aggregations.events more than once",
    )
    assert compared(records[:2], records).differences == (
        f"{place}@3 to @4, 2 records, {NOT_EVENTS}",
        f"{place}@8 to @9, 2 records, {NOT_EVENTS}",
    )


def test_records_at_and_after_the_offsets_must_not_be_there_yet() -> None:
    records = [keyed(offset) for offset in range(5)]
    assert compared(records, records[:3], below=3).differences == ()
    (text,) = compared(records, records[:4], below=3).differences
    assert "@3 is in event_aggregations.events, but" in text


@pytest.mark.parametrize(
    ("column", "fields"),
    [
        ("event_id", {"event_id": OTHER}),
        ("event_type", {"kind": "flag", "topic": "views", "event_id": str(uuid.UUID(int=1, version=4))}),
        ("image_id", {"image_id": OTHER, "partition": HOME}),
        ("actor_eligible", {"actor_eligible": False}),
        ("event_time", {"timestamp": 1.0}),
    ],
)
def test_each_column_that_differs_is_named(column: str, fields: dict[str, Any]) -> None:
    (text,) = compared([keyed(0)], [keyed(0, **fields)]).differences
    assert text.endswith(f"@0 is in event_aggregations.events with another {column}")


def test_rows_about_records_that_kafka_has_removed_are_not_compared() -> None:
    found = compared([keyed(5), keyed(6)], [keyed(offset) for offset in range(7)], below=7, first=5, end=7)
    assert (found.differences, found.expected, found.actual) == ((), 2, 2)


@pytest.mark.parametrize(
    "text", ["by hand", "", "x" * 36, "y" * 35, "é" * 18, COMMENT.replace("-", ""), "{" + COMMENT + "}"]
)
def test_only_a_hyphenated_id_names_a_row(text: str) -> None:
    with open_tables() as tables:
        load_aggregated(tables, [comment(0), comment(1, comment_id=text), keyed(0, kind="upload"), keyed(2)])
        named = "SELECT kind, row_id::VARCHAR FROM lake_events WHERE row_id IS NOT NULL ORDER BY kind"
        assert tables.rows(named) == [("comment", COMMENT), ("upload", "11111111-1111-4111-8111-111111111111")]
