"""Events in columns, and their comparison to rows of Iceberg: what a plain count over objects would say."""

import json
import uuid
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.events import Record, parse_event
from gourmetgram.lakehouse.parsing import parse_slowly
from gourmetgram_tools.inspection.event_log import id_texts, uuid_bytes, uuid_text
from gourmetgram_tools.inspection.history import History
from gourmetgram_tools.inspection.kafka_reading import Keyed, Range, partition_of
from gourmetgram_tools.inspection.lake_records import COLUMNS, RecordComparison, uuid_numbers

BROKER_US = 1_800_000_000_000_000
KINDS = ("view", "comment", "flag", "upload")
IMAGES = [str(uuid.UUID(int=number, version=4)) for number in range(3)]


def record(offset: int, kind: str = "view", image: int = 0, number: int | None = None, **fields: object) -> Record:
    """Record `offset` of the image's partition in the kind's topic; events with the same number are copies."""
    message = {
        "event_type": kind,
        "event_id": str(uuid.UUID(int=1000 + (offset if number is None else number), version=4)),
        "image_id": IMAGES[image],
        "timestamp": BROKER_US / 1_000_000 - offset,
        "comment_id": str(uuid.UUID(int=5, version=4)) if kind == "comment" else None,
        **fields,
    }
    value = json.dumps(message).encode()
    return Record(f"{kind}s", partition_of(IMAGES[image], 4), offset, BROKER_US + offset, value)


def history(records: Sequence[Record]) -> History:
    return History.of((Keyed(None, each) for each in records), 4)


def batch(records: Sequence[Record]) -> pa.RecordBatch:
    """The rows that the aggregation makes of records."""
    rows = parse_slowly(records).rows.select(list(COLUMNS))
    return rows.combine_chunks().to_batches()[0] if rows.num_rows else pa.RecordBatch.from_pylist([], rows.schema)


def differences(known: Sequence[Record], rows: Sequence[Record], below: int = 100) -> list[str]:
    found = history(known)
    places = {(each.topic, each.partition) for each in (*known, *rows)}
    offsets: dict[str, dict[int, int]] = {}
    for topic, partition in places:
        offsets.setdefault(topic, {})[partition] = below
    comparison = RecordComparison(found.log, offsets, {place: Range(0, 1000) for place in places})
    for each in rows:
        comparison.add(batch([each]))
    return list(comparison.differences())


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 6), st.booleans()), max_size=30))
def test_events_are_grouped_as_objects_would_be(draws):
    records = [
        record(offset, kind, image, number, actor_eligible=eligible)
        for offset, (kind, image, number, eligible) in enumerate(draws)
    ]
    seen: set[str] = set()
    expected: dict[tuple[str, str], list[int]] = {}
    for each in records:
        event = parse_event(each)
        if event.event_id not in seen and event.actor_eligible:
            expected.setdefault((event.image_id, event.kind), []).append(each.offset)
        seen.add(event.event_id)
    found = history(records)
    assert {
        (image_id, kind): [event.offset for event in events]
        for image_id, image in found.images.items()
        for kind, events in image.accepted.items()
        if events
    } == expected
    assert found.events.total() == len(seen)
    assert len(found.copies) == len(records) - len(seen)


def test_an_accepted_event_is_what_its_record_said():
    image = history([record(7, number=1), record(9, number=2)]).images[IMAGES[0]]
    first, second = image.accepted["view"]
    assert (first.topic, first.offset, first.broker_time_us) == ("views", 7, BROKER_US + 7)
    assert first.time_us == BROKER_US - 7_000_000
    assert first.event_id == str(uuid.UUID(int=1001, version=4))
    assert image.accepted["view"][-1] == second == image.accepted["view"][1:][0]
    assert [event.offset for event in image.accepted["view"].since(second.time_us)] == [7]


@pytest.mark.parametrize("texts", [[], ["", None, "x" * 36, "y" * 35], [IMAGES[1], None, "é" * 18, IMAGES[2]]])
def test_ids_are_compared_as_numbers_and_other_texts_are_no_id(texts):
    numbers = uuid_numbers(pa.array(texts, pa.string()))
    assert numbers.shape == (len(texts), 2)
    for text, row in zip(texts, numbers, strict=True):
        wanted = uuid_bytes(text) if text in IMAGES else bytes(16)
        assert row.tobytes() == wanted
    assert uuid_text(uuid_bytes(IMAGES[1])) == IMAGES[1]


def test_rows_that_equal_their_records_have_no_difference():
    records = [record(0), record(1), record(0, "comment"), record(0, "upload", 1), record(2, actor_eligible=False)]
    assert differences(records, records) == []
    assert differences(records, list(reversed(records))) == []


def test_neighbours_with_the_same_fault_are_one_sentence():
    records = [record(offset) for offset in (0, 1, 3, 4, 8, 9)]
    place = f"views/{records[0].partition}"
    assert differences(records, [records[0], *records[4:], records[5]]) == [
        f"{place}@1 to @4, 3 records, are missing in event_aggregations.events",
        f"{place}@9 is in event_aggregations.events more than once",
    ]
    assert differences(records[:2], records) == [
        f"{place}@3 to @4, 2 records, are in event_aggregations.events, but no readable record below its offsets",
        f"{place}@8 to @9, 2 records, are in event_aggregations.events, but no readable record below its offsets",
    ]


def test_records_at_and_after_the_offsets_must_not_be_there_yet():
    records = [record(offset) for offset in range(5)]
    assert differences(records, records[:3], below=3) == []
    assert "@3 is in event_aggregations.events, but" in differences(records, records[:4], below=3)[0]


@pytest.mark.parametrize(
    ("column", "fields"),
    [
        ("event_id", {"event_id": str(uuid.UUID(int=77, version=4))}),
        ("event_type", {"event_type": "flag"}),
        ("image_id", {"image_id": IMAGES[2]}),
        ("actor_eligible", {"actor_eligible": False}),
        ("event_time", {"timestamp": 1.0}),
    ],
)
def test_each_column_that_differs_is_named(column, fields):
    (text,) = differences([record(0)], [record(0, **fields)])
    assert text.endswith(f"@0 is in event_aggregations.events with another {column}")


def test_rows_about_records_that_kafka_has_removed_are_not_compared():
    known = [record(offset) for offset in (5, 6)]
    place = (known[0].topic, known[0].partition)
    comparison = RecordComparison(history(known).log, {place[0]: {place[1]: 7}}, {place: Range(5, 7)})
    comparison.add(batch([record(offset) for offset in range(7)]))
    assert (list(comparison.differences()), comparison.rows, comparison.expected) == ([], 2, 2)
    assert np.count_nonzero(comparison.below()) == 2


def test_the_rows_that_events_name_are_remembered_by_kind():
    comparison = RecordComparison(history([]).log, {}, {})
    comparison.add(batch([record(0, "comment"), record(1, "comment", comment_id="by hand"), record(0, "upload", 1)]))
    assert id_texts(comparison.row_ids("comment")) == [str(uuid.UUID(int=5, version=4))]
    assert id_texts(comparison.row_ids("upload")) == [IMAGES[1]]
    assert len(comparison.row_ids("flag")) == 0
