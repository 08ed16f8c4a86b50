"""Expected requests, worked out from small histories written by hand."""

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.events import Record, request_uuid
from gourmetgram_tools.inspection.event_log import Accepted, AcceptedEvents
from gourmetgram_tools.inspection.history import History, ImageHistory
from gourmetgram_tools.inspection.kafka_reading import Keyed, partition_of
from gourmetgram_tools.inspection.platform import TriggerRules
from gourmetgram_tools.inspection.triggers import (
    SECOND_US,
    WINDOWS,
    Raised,
    Rule,
    all_raised,
    count_as_of,
    milestones,
    of_upload,
    raised_by,
    since_gaps,
)

T0 = 1_800_000_000 * SECOND_US
IMAGE = "11111111-1111-4111-8111-111111111111"
FLAGGED = Rule("flagged", "flags_5min", 2, True)
HOUR = 3600


def event(seconds: float, *, delay_s: float = 0.01, number: int = 0) -> Accepted:
    """An event `seconds` after T0 that the broker stored `delay_s` later."""
    time_us = T0 + round(seconds * SECOND_US)
    return Accepted("flags", number, time_us, time_us + round(delay_s * SECOND_US), f"event-{seconds:g}")


def recorded(kind: str, *seconds: float) -> AcceptedEvents:
    """Events of IMAGE at these seconds after T0, as read from Kafka 10 ms later."""
    records = []
    for offset, second in enumerate(seconds):
        message = {
            "event_type": kind,
            "event_id": str(uuid.uuid4()),
            "image_id": IMAGE,
            "timestamp": T0 / SECOND_US + second,
        }
        time_us = T0 + round(second * SECOND_US) + 10_000
        records.append(Keyed(IMAGE.encode(), Record(f"{kind}s", 0, offset, time_us, json.dumps(message).encode())))
    return History.of(records, 4).images[IMAGE].accepted[kind]


def times(events: list[Accepted], rule: Rule = FLAGGED) -> list[float]:
    return [(raised.time_us - T0) / SECOND_US for raised in raised_by(IMAGE, events, rule)]


def test_a_rule_fires_at_the_event_that_reaches_the_threshold_and_names_it():
    (raised,) = raised_by(IMAGE, [event(0), event(10), event(20)], FLAGGED)
    assert raised == Raised(IMAGE, "flagged", T0 + 10 * SECOND_US, "event-10", T0 + round(10.01 * SECOND_US))
    assert raised.request_id == request_uuid(IMAGE, "flagged", "event-10")


@pytest.mark.parametrize(("gap", "fires"), [(299.999999, True), (300, False)])
def test_the_window_is_open_at_its_old_end_to_the_microsecond(gap, fires):
    assert bool(times([event(0), event(gap)])) is fires


@pytest.mark.parametrize(("later", "expected"), [(HOUR + 9.999999, [10]), (HOUR + 10, [10, HOUR + 10])])
def test_the_cool_down_ends_exactly_an_hour_after_t(later, expected):
    assert times([event(0), event(10), event(later - 1), event(later)]) == expected


def test_a_late_event_counts_at_the_newest_time_and_is_the_triggering_event():
    (raised,) = raised_by(IMAGE, [event(100), event(50)], FLAGGED)
    assert (raised.time_us, raised.event_id) == (T0 + 100 * SECOND_US, "event-50")


def test_an_event_that_reached_the_broker_after_more_than_an_hour_counts_but_raises_nothing():
    assert times([event(0), event(10, delay_s=HOUR + 1)]) == []
    assert times([event(0), event(10, delay_s=HOUR + 1), event(20)]) == [20]
    assert times([event(0), event(10, delay_s=HOUR)]) == [10]


def test_each_image_and_each_kind_has_its_own_count():
    def record(kind: str, image_id: str, offset: int) -> Keyed:
        name = "viewed_at" if kind == "view" else "created_at"
        message = {
            "event_type": kind,
            "event_id": str(uuid.uuid4()),
            "image_id": image_id,
            name: "2027-01-15T08:00:00+00:00",
            "comment_id": str(uuid.uuid4()),
            "flag_id": str(uuid.uuid4()),
        }
        place = Record(f"{kind}s", partition_of(image_id, 4), offset, T0, json.dumps(message).encode())
        return Keyed(image_id.encode(), place)

    other = IMAGE.replace("1111-4111", "1112-4111")
    records = [record("flag", IMAGE, 0), record("flag", other, 0), record("comment", IMAGE, 0)]
    assert list(all_raised(History.of(records, 4), TriggerRules())) == []
    history = History.of([*records, record("flag", other, 1)], 4)
    assert [(rule.trigger, raised.image_id) for rule, raised in all_raised(history, TriggerRules())] == [
        ("flagged", other)
    ]


@given(
    st.lists(st.tuples(st.integers(0, 9000), st.sampled_from([0, 30, 3500, 3601])), max_size=40),
    st.integers(1, 4),
)
def test_the_recomputation_agrees_with_counting_by_hand(points, threshold):
    events = [event(second, delay_s=delay, number=number) for number, (second, delay) in enumerate(points)]
    expected, last = [], None
    for index, newest_event in enumerate(events):
        seen = events[: index + 1]
        t = max(item.time_us for item in seen)
        count = sum(t - 300 * SECOND_US < item.time_us <= t for item in seen)
        cool = last is not None and t < last + 3600 * SECOND_US
        if count >= threshold and not cool and newest_event.broker_time_us - newest_event.time_us <= 3600 * SECOND_US:
            expected.append((t, newest_event.event_id))
            last = t
    rule = Rule("flagged", "flags_5min", threshold, True)
    assert [(raised.time_us, raised.event_id) for raised in raised_by(IMAGE, events, rule)] == expected


def upload_record(**changes: object) -> Keyed:
    message = {
        "event_type": "upload",
        "event_id": "22222222-2222-4222-8222-222222222222",
        "image_id": IMAGE,
        "created_at": "2027-01-15T08:00:00+00:00",
        "actor_eligible": True,
        **changes,
    }
    place = Record("uploads", partition_of(IMAGE, 4), 0, T0, json.dumps(message).encode())
    return Keyed(IMAGE.encode(), place)


def test_an_upload_makes_one_request_and_one_for_each_anchor():
    upload = History.of([upload_record()], 4).uploads[IMAGE]
    at_once, later = of_upload(IMAGE, upload, "upload"), of_upload(IMAGE, upload, "anchor_30")
    assert at_once and at_once.request_id == request_uuid(IMAGE, "upload", upload.event.event_id)
    assert later and later.request_id == request_uuid(IMAGE, "anchor_30", None)
    assert later.time_us == T0 + 1800 * SECOND_US
    assert of_upload(IMAGE, upload, "viral") is None


@pytest.mark.parametrize("changes", [{"actor_eligible": False}, {"created_at": "2027-01-15T06:59:59+00:00"}])
def test_an_upload_that_is_not_eligible_or_history_makes_none(changes):
    upload = History.of([upload_record(**changes)], 4).uploads[IMAGE]
    assert of_upload(IMAGE, upload, "upload") is None
    assert of_upload(IMAGE, upload, "anchor_5") is None


def test_counts_hold_what_was_read_and_nothing_after_t():
    image = ImageHistory()
    image.accepted["flag"] = recorded("flag", 0, 100, 301, 310)
    t = T0 + 301 * SECOND_US
    assert count_as_of(image, "flags_5min", t, {"flags": 99}) == 2
    assert count_as_of(image, "flags_1hr", t, {"flags": 99}) == 3
    assert count_as_of(image, "flags_1hr", t, {"flags": 2}) == 2
    assert count_as_of(image, "flags_1hr", t, {}) == 0
    assert set(WINDOWS) == {
        "views_5min", "views_1hr", "comments_1min", "comments_5min", "comments_1hr", "flags_5min", "flags_1hr",
    }  # fmt: skip


def test_milestones_start_again_when_the_counter_has_expired():
    idle_us = 7 * 24 * 3600 * SECOND_US
    later = 8 * 24 * 3600
    assert milestones(recorded("view", *range(9)), idle_us) == set()
    assert milestones(recorded("view", *range(10)), idle_us) == {10}
    assert milestones(recorded("view", *range(9), later), idle_us) == set()
    pieces = since_gaps(recorded("view", *range(9), later), idle_us)
    assert [[event.offset for event in piece] for piece in pieces] == [list(range(9)), [9]]
    assert since_gaps(recorded("view", 0)[:0], idle_us) == []
