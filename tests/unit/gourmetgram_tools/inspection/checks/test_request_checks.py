"""Counts, milestones and expirations as the checks work them out, from small histories written by hand."""

import json
import uuid
from typing import Any

import pytest

from gourmetgram.events import Record
from gourmetgram.windows import COUNT_NAMES
from gourmetgram_tools.inspection.kafka_reading import Keyed
from tests.support.hand_made_stores import HOME, IMAGE, T0_US, checked, hand_made_stores, keyed

DAY = 24 * 3600
IMAGES = {"images": [(IMAGE, None, "user_upload", T0_US, None, 0, True)]}


def wrong_counts(seconds: float, read_to: dict[str, int], **claimed: object) -> list[str]:
    """Faults of a context with these counts (else 0), when there were flags after 0, 100, 301 and 310 s."""
    request = {
        "request_id": str(uuid.UUID(int=1, version=4)),
        "image_id": IMAGE,
        "trigger": "flagged",
        "timestamp": T0_US / 1_000_000 + seconds,
        "context": {**dict.fromkeys(COUNT_NAMES, 0), **claimed, "read_to": read_to},
    }
    flags = [keyed(offset, kind="flag", seconds=at) for offset, at in enumerate((0, 100, 301, 310))]
    record = Keyed(None, Record("requests", HOME, 0, 5, json.dumps(request).encode()))
    with hand_made_stores(flags, [record]) as tables:
        return [text.split(": ", 1)[1] for text in checked(tables, "contexts").differences]


def test_counts_hold_what_was_read_and_nothing_after_t() -> None:
    assert wrong_counts(301, {"flags": 99}, flags_5min=2, flags_1hr=3) == []
    assert wrong_counts(301, {"flags": 2}, flags_5min=1, flags_1hr=2) == []
    assert wrong_counts(301, {}) == wrong_counts(301, {"views": 99}) == []
    assert wrong_counts(301, {"flags": 2}) == ["flags_5min=0 instead of 1, flags_1hr=0 instead of 2"]
    assert wrong_counts(300, {"flags": 99}, flags_5min=1, flags_1hr=2) == []


@pytest.mark.parametrize("claimed", ["2", None, 2.5, [2]])
def test_a_count_that_is_another_value_is_wrong(claimed: Any) -> None:
    (text,) = wrong_counts(301, {"flags": 99}, flags_5min=claimed, flags_1hr=3)
    assert text.startswith("flags_5min=") and text.endswith(" instead of 2")


def reached(*seconds: float) -> list[int]:
    """The milestones that views at these times reach."""
    views = [keyed(offset, seconds=second) for offset, second in enumerate(seconds)]
    with hand_made_stores(views, fill=IMAGES) as tables:
        found = checked(tables, "milestones").differences
    return [int(text.split()[1]) for text in found]


def test_milestones_start_again_when_the_counter_has_expired() -> None:
    assert reached(*range(9)) == []
    assert reached(*range(10)) == [10]
    assert reached(*range(100)) == [10, 100]
    assert reached(*range(9), 8 * DAY) == []
    assert reached(*range(9), 8 * DAY, *range(8 * DAY + 1, 8 * DAY + 10)) == [10]
    assert reached(*range(9), 7 * DAY) == [10], "the key lives seven days after the last view"


def test_totals_start_again_when_they_have_expired() -> None:
    views = [keyed(offset, seconds=second) for offset, second in enumerate((*range(9), 8 * DAY))]
    for total, text in ((1, ()), (10, (f"image:{IMAGE}:total_views is 10; 1 events",))):
        with hand_made_stores(views, fill={"redis_totals": [(IMAGE, "view", total)]}) as tables:
            assert checked(tables, "totals").differences == text
    with hand_made_stores(views[:0]) as tables:
        assert checked(tables, "totals").ok


def test_a_window_holds_the_last_hour_since_it_has_expired() -> None:
    views = [keyed(offset, seconds=second) for offset, second in enumerate((0, 1000, 3000, 3601, 3602 + 3601))]
    with hand_made_stores(views) as tables:
        assert tables.rows("SELECT member FROM hour_members") == [("view:1800007203.000000:00000000",)]
    with hand_made_stores(views[:4]) as tables:
        members = tables.rows("SELECT member FROM hour_members ORDER BY member")
        assert [member[:18] for (member,) in members] == [
            "view:1800001000.00",
            "view:1800003000.00",
            "view:1800003601.00",
        ]


def test_an_upload_of_an_image_without_defined_order_demands_no_request() -> None:
    upload: dict[str, Any] = {"kind": "upload", "seconds": 0}
    request = {"request_id": str(uuid.uuid4()), "image_id": IMAGE, "trigger": "upload", "context": {"read_to": {}}}
    record = Keyed(None, Record("requests", HOME, 0, 5, json.dumps(request).encode()))
    with hand_made_stores([keyed(0, **upload)], [record]) as tables:
        assert "follows from no event" in checked(tables, "requests").differences[0]
    with hand_made_stores([keyed(0, **upload, partition=(HOME + 1) % 4)], [record]) as tables:
        assert checked(tables, "requests").ok
