"""From events to requests: what is asked, when, how often, and with which counts."""

import uuid

import pytest

from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us

pytestmark = pytest.mark.servers

SECOND = 1_000_000


def burst(image: str, views: int = 110, comments: int = 8, flags: int = 2) -> list[dict]:
    """The lab's burst: one event a millisecond."""
    kinds = ["view"] * views + ["comment"] * comments + ["flag"] * flags
    start = now_us() - len(kinds) * 1000
    return [event(kind, image, start + 1000 * number) for number, kind in enumerate(kinds)]


def test_a_burst_asks_for_viral_and_flagged_with_the_counts_as_of_the_trigger(platform: ConsumerPlatform):
    image = new_image()
    platform.publish(burst(image))
    with platform.consumer():
        platform.wait_settled()
    requests = platform.requests()
    assert [(item["trigger"], item["image_id"]) for item in requests] == [("viral", image), ("flagged", image)]
    viral, flagged = (item["context"] for item in requests)
    assert viral["views_5min"] == viral["views_1hr"] == 100
    assert viral["comments_1hr"] == viral["flags_1hr"] == 0
    assert (flagged["views_5min"], flagged["comments_5min"], flagged["flags_5min"]) == (110, 8, 2)
    assert all(uuid.UUID(item["request_id"]) for item in requests)
