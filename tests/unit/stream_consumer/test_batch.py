"""Batches: parsing, and the arguments of one call."""

from typing import Any

import orjson

from gourmetgram.events import Record
from gourmetgram.moments import HOUR_US, SECOND_US
from gourmetgram.redis_keys import event_member
from stream_consumer.batch import BatchCall, BatchSpan, build_call, read_batch
from tests.support.consumer_records import COMMENTS, IMAGE, OTHER, START_US, VIEWS, bad_record, record


def call_of(records: list[Record], horizons: dict[int, int] | None = None) -> BatchCall:
    batch = read_batch(records)
    return build_call(
        batch, {partition: (span.start, span.end) for partition, span in batch.spans.items()}, horizons or {}
    )


def header_of(call: BatchCall) -> dict[str, Any]:
    header: dict[str, Any] = orjson.loads(call.arguments[0])
    return header


def test_good_bad_and_ineligible_records_are_told_apart() -> None:
    records = [
        record(VIEWS, 5),
        bad_record(VIEWS, 6),
        record(VIEWS, 8, actor_eligible=False, time_us=START_US + 1),
        record(COMMENTS, 2, "comment"),
        record(COMMENTS, 3, "upload"),
    ]
    batch = read_batch(records)
    assert [item.record.offset for item in batch.eligible] == [5, 2, 3]
    assert [(item.record.offset, item.bad.reason) for item in batch.rejected] == [(6, "not JSON")]
    spans = {partition: span._replace(last="") for partition, span in batch.spans.items()}
    assert spans == {VIEWS: BatchSpan(5, 9, START_US + 1), COMMENTS: BatchSpan(2, 4, START_US)}
    assert batch.spans[VIEWS].last.startswith(f"8 {START_US + 1} ")
    assert batch.ineligible == {"view": 1}
    assert batch.events == {"view": 2, "comment": 1, "upload": 1}
    assert batch.records == {"views": 3, "comments": 2}


def test_a_duplicate_within_a_batch_counts_once() -> None:
    first = record(VIEWS, 5)
    batch = read_batch([first, first._replace(offset=6), record(VIEWS, 7)])
    assert [item.record.offset for item in batch.eligible] == [5, 7]
    assert batch.repeated == 1


def test_events_are_grouped_by_image_and_kind_and_uploads_come_last() -> None:
    call = call_of(
        [
            record(VIEWS, 0),
            record(COMMENTS, 0, "upload"),
            record(VIEWS, 1, image_id=OTHER),
            record(COMMENTS, 1, "comment"),
            record(VIEWS, 2, time_us=START_US + 7),
        ]
    )
    header = header_of(call)
    assert header["groups"] == [
        [IMAGE, "views", 1, 2, START_US + 7, None],
        [OTHER, "views", 3, 3, START_US, None],
        [IMAGE, "comments", 4, 4, START_US, None],
    ]
    assert [item.record.offset for item in call.events] == [0, 2, 1, 1, 0]
    assert header["size"] == 5
    assert header["offsets"] == [0, 2, 1, 1, 0]
    assert [upload["index"] for upload in header["uploads"]] == [5]


def test_each_event_names_its_partition_among_the_positions() -> None:
    header = header_of(call_of([record(COMMENTS, 4, "comment"), record(VIEWS, 0), record(VIEWS, 1, image_id=OTHER)]))
    assert [place[:5] for place in header["positions"]] == [
        ["comments/0", "4", "5", "comments", 0],
        ["views/0", "0", "2", "views", 0],
    ]
    assert header["source"] == [1, 2, 2]


def test_the_arguments_are_ids_then_scores_and_members_of_the_groups() -> None:
    call = call_of([record(VIEWS, 0), record(COMMENTS, 0, "upload")])
    event = call.events[0].event
    assert call.arguments[1:3] == [bytes.fromhex(item.event.event_id.replace("-", "")) for item in call.events]
    assert call.arguments[3:] == ["1763700000.000000", event_member("view", START_US, event.event_id)]


def test_hours_are_listed_when_there_are_several() -> None:
    hour = START_US // HOUR_US
    same = header_of(call_of([record(VIEWS, 0), record(VIEWS, 1)]))
    assert (same["hours"], same["hour_of"]) == ([str(hour)], [])
    two = header_of(call_of([record(VIEWS, 0), record(VIEWS, 1, time_us=START_US + HOUR_US), record(VIEWS, 2)]))
    assert (two["hours"], two["hour_of"]) == ([str(hour), str(hour + 1)], [1, 2, 1])


def test_old_events_are_marked_as_history() -> None:
    old = record(VIEWS, 1)._replace(broker_time_us=START_US + HOUR_US + 1)
    edge = record(VIEWS, 2)._replace(broker_time_us=START_US + HOUR_US)
    assert header_of(call_of([record(VIEWS, 0), old, edge]))["history"] == [2]


def test_groups_carry_the_horizon_of_their_partition_number() -> None:
    groups = header_of(call_of([record(VIEWS, 0)], {0: 42, 1: 7}))["groups"]
    assert groups == [[IMAGE, "views", 1, 1, START_US, 42]]


def test_a_call_without_some_events_keeps_positions_and_horizons() -> None:
    call = call_of([record(VIEWS, 0), record(VIEWS, 1, image_id=OTHER), record(VIEWS, 2)], {0: 42})
    rest = call.without({1, 3})
    assert [item.record.offset for item in rest.events] == [2]
    assert (rest.positions, rest.horizons) == (call.positions, call.horizons)
    assert header_of(rest)["positions"] == header_of(call)["positions"]


def test_metadata_of_an_upload_has_a_text_for_everything() -> None:
    odd = record(VIEWS, 0, "upload", category=["x"], caption={"a": 1}, user_id="me")
    good = record(VIEWS, 1, "upload", category=" Soup ", caption="hot", user_id=OTHER, time_us=START_US + SECOND_US)
    uploads = header_of(call_of([odd, good]))["uploads"]
    assert uploads == [
        {
            "index": 1,
            "image": IMAGE,
            "category": "Unknown",
            "caption_length": "0",
            "uploaded_at": "1763700000.000000",
            "user_id": "",
        },
        {
            "index": 2,
            "image": IMAGE,
            "category": "Soup",
            "caption_length": "3",
            "uploaded_at": "1763700001.000000",
            "user_id": OTHER,
        },
    ]
