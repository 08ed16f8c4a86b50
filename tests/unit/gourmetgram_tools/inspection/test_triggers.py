"""Expected requests, worked out from small histories written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.events import request_uuid
from gourmetgram.moments import SECOND_US
from gourmetgram.windows import COUNTED_WINDOWS, TriggerSettings, WindowTrigger
from gourmetgram_tools.inspection.triggers import (
    CountedEvent,
    ImageEvents,
    Raised,
    all_raised,
    of_upload,
    raised_by,
)

T0 = 1_800_000_000 * SECOND_US
IMAGE = "11111111-1111-4111-8111-111111111111"
FLAGGED = WindowTrigger("flagged", "flags_5min", 2, True)
HOUR = 3600


def event(seconds: float, *, delay_s: float = 0.01) -> CountedEvent:
    """An event `seconds` after T0 that the broker stored `delay_s` later."""
    time_us = T0 + round(seconds * SECOND_US)
    return CountedEvent(time_us, time_us + round(delay_s * SECOND_US), f"event-{seconds:g}")


def times(events: list[CountedEvent], rule: WindowTrigger = FLAGGED) -> list[float]:
    return [(raised.time_us - T0) / SECOND_US for raised in raised_by(IMAGE, events, rule)]


def test_a_rule_fires_at_the_event_that_reaches_the_threshold_and_names_it() -> None:
    (raised,) = raised_by(IMAGE, [event(0), event(10), event(20)], FLAGGED)
    assert raised == Raised(IMAGE, "flagged", T0 + 10 * SECOND_US, "event-10", T0 + round(10.01 * SECOND_US))
    assert raised.request_id == request_uuid(IMAGE, "flagged", "event-10")


@pytest.mark.parametrize(("gap", "fires"), [(299.999999, True), (300, False)])
def test_the_window_is_open_at_its_old_end_to_the_microsecond(gap: float, fires: bool) -> None:
    assert bool(times([event(0), event(gap)])) is fires


@pytest.mark.parametrize(("later", "expected"), [(HOUR + 9.999999, [10]), (HOUR + 10, [10, HOUR + 10])])
def test_the_cool_down_ends_exactly_an_hour_after_t(later: float, expected: list[float]) -> None:
    assert times([event(0), event(10), event(later - 1), event(later)]) == expected


def test_a_late_event_counts_at_the_newest_time_and_is_the_triggering_event() -> None:
    (raised,) = raised_by(IMAGE, [event(100), event(50)], FLAGGED)
    assert (raised.time_us, raised.event_id) == (T0 + 100 * SECOND_US, "event-50")


def test_an_event_that_reached_the_broker_after_more_than_an_hour_counts_but_raises_nothing() -> None:
    assert times([event(0), event(10, delay_s=HOUR + 1)]) == []
    assert times([event(0), event(10, delay_s=HOUR + 1), event(20)]) == [20]
    assert times([event(0), event(10, delay_s=HOUR)]) == [10]


def test_each_image_and_each_kind_has_its_own_count() -> None:
    other = IMAGE.replace("1111-4111", "1112-4111")
    one_each = [ImageEvents(IMAGE, "flag", [event(0)]), ImageEvents(other, "flag", [event(0)]),
                ImageEvents(IMAGE, "comment", [event(0)])]  # fmt: skip
    assert list(all_raised(one_each, TriggerSettings())) == []
    two = [one_each[0], ImageEvents(other, "flag", [event(0), event(1)]), one_each[2]]
    assert [(rule.name, raised.image_id) for rule, raised in all_raised(two, TriggerSettings())] == [("flagged", other)]


@given(
    st.lists(st.tuples(st.integers(0, 9000), st.sampled_from([0, 30, 3500, 3601])), max_size=40),
    st.integers(1, 4),
)
def test_the_recomputation_agrees_with_counting_by_hand(points: list[tuple[int, int]], threshold: int) -> None:
    events = [event(second, delay_s=delay) for second, delay in points]
    expected, last = [], None
    for index, newest_event in enumerate(events):
        seen = events[: index + 1]
        t = max(item.time_us for item in seen)
        count = sum(t - 300 * SECOND_US < item.time_us <= t for item in seen)
        cool = last is not None and t < last + 3600 * SECOND_US
        if count >= threshold and not cool and newest_event.broker_us - newest_event.time_us <= 3600 * SECOND_US:
            expected.append((t, newest_event.event_id))
            last = t
    rule = WindowTrigger("flagged", "flags_5min", threshold, True)
    assert [(raised.time_us, raised.event_id) for raised in raised_by(IMAGE, events, rule)] == expected


def test_an_upload_makes_one_request_and_one_for_each_anchor() -> None:
    at_once, later = of_upload(IMAGE, event(0), "upload"), of_upload(IMAGE, event(0), "anchor_30")
    assert at_once and at_once.request_id == request_uuid(IMAGE, "upload", "event-0")
    assert later and later.request_id == request_uuid(IMAGE, "anchor_30", None)
    assert later.time_us == T0 + 1800 * SECOND_US
    assert of_upload(IMAGE, event(0), "viral") is None
    assert of_upload(IMAGE, event(0), "anchor_soon") is None


def test_an_upload_that_is_history_makes_none() -> None:
    assert of_upload(IMAGE, event(0, delay_s=HOUR + 1), "upload") is None
    assert of_upload(IMAGE, event(0, delay_s=HOUR + 1), "anchor_5") is None


def test_the_counts_of_a_context_are_those_of_the_contract() -> None:
    assert set(COUNTED_WINDOWS) == {
        "views_5min", "views_1hr", "comments_1min", "comments_5min", "comments_1hr", "flags_5min", "flags_1hr",
    }  # fmt: skip
