"""From events to requests: what is asked, when, how often, and with which counts."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from gourmetgram.events import request_uuid
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import ensure_topics
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

SECOND = 1_000_000
MINUTE = 60 * SECOND


def burst(image: str, end_us: int, views: int = 110, comments: int = 8, flags: int = 2) -> list[dict[str, Any]]:
    """The lab's burst: one event a millisecond."""
    kinds = ["view"] * views + ["comment"] * comments + ["flag"] * flags
    start = end_us - len(kinds) * 1000
    return [event(kind, image, start + 1000 * number) for number, kind in enumerate(kinds)]


def triggers(platform: ConsumerPlatform) -> list[tuple[str, str]]:
    return sorted((item["image_id"], item["trigger"]) for item in platform.requests())


def test_a_burst_asks_for_viral_and_flagged_with_the_counts_as_of_the_trigger(platform: ConsumerPlatform) -> None:
    image = new_image()
    events = burst(image, now_us())
    platform.publish(events)
    with platform.consumer():
        platform.wait_settled()
    viral, flagged = sorted(platform.requests(), key=lambda item: item["timestamp"])
    assert (viral["trigger"], flagged["trigger"]) == ("viral", "flagged")
    assert viral["image_id"] == flagged["image_id"] == image
    counts = {name: value for name, value in viral["context"].items() if name != "read_to"}
    assert counts == {
        "views_5min": 100,
        "views_1hr": 100,
        "comments_1min": 0,
        "comments_5min": 0,
        "comments_1hr": 0,
        "flags_5min": 0,
        "flags_1hr": 0,
    }
    assert flagged["context"]["views_5min"] == flagged["context"]["views_1hr"] == 110
    assert flagged["context"]["comments_1min"] == flagged["context"]["comments_1hr"] == 8
    assert flagged["context"]["flags_5min"] == 2
    assert viral["request_id"] == request_uuid(image, "viral", events[99]["event_id"])
    assert set(viral["context"]["read_to"]) == {platform.topic(kind) for kind in ("view", "comment", "flag", "upload")}
    assert viral["context"]["read_to"][platform.topic("view")] == 100


def test_contexts_are_the_same_however_slowly_the_topics_are_read(platform: ConsumerPlatform) -> None:
    images = [new_image() for _ in range(8)]
    end = now_us()
    # Topic after topic: the flags are there long before the views that they must be judged with.
    events = [item for image in images for item in burst(image, end)]
    for kind in ("flag", "comment", "view"):
        platform.publish(item for item in events if item["event_type"] == kind)
    with platform.consumer(CONSUMER_MAX_POLL_RECORDS="1", CONSUMER_MAX_BATCH_RECORDS="1"):
        platform.wait_settled(60)
    assert triggers(platform) == sorted((image, trigger) for image in images for trigger in ("viral", "flagged"))
    for request in platform.requests():
        expected = (100, 0, 0) if request["trigger"] == "viral" else (110, 8, 2)
        context = request["context"]
        assert (context["views_5min"], context["comments_5min"], context["flags_5min"]) == expected


def test_events_of_one_moment_do_not_change_what_met_the_condition(platform: ConsumerPlatform) -> None:
    """Group commit gives many views one time: the 100th raises the request, the others are not in its count."""
    image, moment = new_image(), now_us()
    platform.publish([event("view", image, moment) for _ in range(150)])
    with platform.consumer():
        platform.wait_settled()
    (request,) = platform.requests()
    assert request["context"]["views_5min"] == 100


def test_within_the_cool_down_an_image_is_asked_about_once_and_after_it_again(platform: ConsumerPlatform) -> None:
    image = new_image()
    now = now_us()
    with platform.consumer():
        for end in (now - 3550 * SECOND, now - 1800 * SECOND):
            platform.publish(burst(image, end, comments=10))
            platform.wait_settled()
        assert triggers(platform) == sorted((image, name) for name in ("viral", "suspicious", "flagged"))
        # Event time decides: this is an hour and a minute after the first burst.
        platform.publish(burst(image, now + 55 * SECOND, comments=10))
        platform.wait_settled()
    assert triggers(platform) == sorted((image, name) for name in ("viral", "suspicious", "flagged") * 2)


def test_a_restart_repeats_no_request(platform: ConsumerPlatform) -> None:
    image = new_image()
    for _ in range(3):
        platform.publish(burst(image, now_us(), comments=2))
        with platform.consumer():
            platform.wait_settled()
    assert triggers(platform) == sorted([(image, "viral"), (image, "flagged")])
    assert platform.total(image) == 330


def test_history_is_counted_and_asks_for_nothing(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image, now_us() - 3700 * SECOND))
    with platform.consumer(RESCORE_AT_MINUTES="1", TRIGGER_ON_UPLOAD="true"):
        platform.publish([event("upload", image, now_us() - 3700 * SECOND)])
        platform.wait_settled()
    assert platform.total(image) == 110
    assert platform.redis.zcard(f"image:{image}:views:1hr") == 110
    assert platform.requests() == []
    assert platform.redis.keys(f"image:{image}:alert:*") == []


def test_events_of_those_who_may_not_count_change_nothing(platform: ConsumerPlatform) -> None:
    image = new_image()
    events = burst(image, now_us())
    platform.publish({**item, "actor_eligible": False} for item in events)
    platform.publish([event("upload", image, now_us(), actor_eligible=False)])
    with platform.consumer(RESCORE_AT_MINUTES="1", TRIGGER_ON_UPLOAD="true"):
        platform.wait_settled()
    assert platform.image_state() == {}
    assert platform.requests() == []


def test_an_upload_is_asked_about_once_when_that_is_switched_on(platform: ConsumerPlatform) -> None:
    image, now = new_image(), now_us()
    platform.publish([event("view", image, now - SECOND), event("upload", image, now), event("upload", image, now)])
    with platform.consumer(TRIGGER_ON_UPLOAD="true"):
        platform.wait_settled()
    (request,) = platform.requests()
    assert (request["trigger"], request["timestamp"]) == ("upload", now / SECOND)
    assert request["context"]["views_5min"] == 1


def test_anchors_count_up_to_their_time_and_happen_once(platform: ConsumerPlatform) -> None:
    image = new_image()
    uploaded = now_us() - MINUTE - 5 * SECOND
    anchor = uploaded + MINUTE
    platform.publish([event("upload", image, uploaded), event("upload", image, uploaded)])
    platform.publish([event("view", image, anchor - SECOND), event("view", image, anchor)])
    platform.publish([event("view", image, anchor + 1), event("comment", image, uploaded + SECOND)])
    with platform.consumer(RESCORE_AT_MINUTES="1"):
        wait_until(platform.requests, 20, "the anchor's request")
        platform.wait_settled()
    (request,) = platform.requests()
    assert (request["trigger"], request["timestamp"]) == ("anchor_1", anchor / SECOND)
    assert request["request_id"] == request_uuid(image, "anchor_1", None)
    assert request["context"]["views_5min"] == 2
    assert (request["context"]["comments_1min"], request["context"]["comments_5min"]) == (1, 1)
    assert platform.redis.keys("consumer:anchors:*") == []
    assert platform.redis.keys("consumer:waiting") == []


def test_an_anchor_leaves_when_its_time_comes_although_the_consumer_was_restarted(platform: ConsumerPlatform) -> None:
    image = new_image()
    # Far enough ahead for a stop in between, near enough to wait for.
    uploaded = now_us() - MINUTE + 12 * SECOND
    platform.publish([event("upload", image, uploaded), event("view", image, uploaded + SECOND)])
    with platform.consumer(RESCORE_AT_MINUTES="1"):
        platform.wait_applied()
    assert platform.requests() == []
    with platform.consumer():  # anchors that were planned leave, whatever the setting is now
        wait_until(platform.requests, 60, "the anchor's request")
    (request,) = platform.requests()
    assert request["trigger"] == "anchor_1"
    assert request["context"]["views_5min"] == 1


def test_windows_are_kept_for_an_anchor_that_is_still_undecided(platform: ConsumerPlatform) -> None:
    """Views an hour after the anchor do not push out those that it counts."""
    image = new_image()
    now = now_us()
    uploaded = now - 3590 * SECOND
    platform.publish([event("view", image, uploaded - 20 * SECOND, event_type="view")])
    platform.publish([event("upload", image, uploaded), event("view", image, uploaded + SECOND)])
    platform.publish([event("view", image, now + 50 * SECOND)])
    with platform.consumer(RESCORE_AT_MINUTES="1"):
        wait_until(platform.requests, 20, "the anchor's request")
        platform.wait_settled()
        (request,) = platform.requests()
        assert request["context"]["views_1hr"] == 2
        # Decided: now the windows shrink to the last hour.
        wait_until(lambda: platform.redis.zcard(f"image:{image}:views:1hr") == 1, 10, "the window to be trimmed")


def test_commits_wait_for_confirmed_requests(platform: ConsumerPlatform, unique_name: Callable[[str], str]) -> None:
    """The moderation topic is missing, so no request is confirmed until it is made."""
    image, missing = new_image(), unique_name("late-requests")
    platform.environment["MODERATION_TOPIC"] = missing
    with platform.consumer():
        platform.publish(burst(image, now_us(), views=50, comments=0, flags=0))
        ends = {partition: end for partition, end in platform.end_offsets().items() if end}
        wait_until(lambda: platform.committed().items() >= ends.items(), 20, "Kafka's offsets to follow")
        platform.publish(burst(image, now_us(), views=60, comments=5, flags=0))
        platform.wait_applied()
        comments = {
            place: end for place, end in platform.end_offsets().items() if place[0] == platform.topic("comment")
        }
        wait_until(lambda: platform.committed().items() >= {p: e for p, e in comments.items() if e}.items(), 20)
        # The record that raised the request, and all after it, would come again.
        (views,) = ends
        assert platform.committed()[views] == 99
        ensure_topics(KafkaSettings.load(platform.environment), [missing], 4)
        wait_until(lambda: platform.committed()[views] == 110, 90, "the request to be confirmed")
    assert triggers(platform) == [(image, "viral")]


def test_popular_and_milestones_ask_for_nothing(platform: ConsumerPlatform) -> None:
    image, stranger = platform.insert_image(), new_image()
    start = now_us() - 100 * 10 * SECOND
    for number in range(100):
        moments = start + number * 10 * SECOND
        platform.publish([event("view", image, moments), event("view", stranger, moments)])
    with platform.consumer():
        platform.wait_settled()
        rows = "SELECT milestone_type, milestone_value, extract(epoch FROM reached_at) FROM image_milestones ORDER BY 2"
        wait_until(lambda: len(platform.rows(rows)) == 2, 10, "the milestones")
        wait_until(lambda: not platform.redis.exists("consumer:milestones"), 10, "the milestones to be forgotten")
    assert platform.requests() == []
    assert platform.redis.exists(f"image:{image}:alert:popular")
    assert [(kind, value, round(float(at) * SECOND)) for kind, value, at in platform.rows(rows)] == [
        ("views", 10, start + 9 * 10 * SECOND),
        ("views", 100, start + 99 * 10 * SECOND),
    ]
    assert platform.rows("SELECT DISTINCT image_id::text FROM image_milestones") == [(image,)]


def test_request_ids_are_uuids_and_differ_by_trigger(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish(burst(image, now_us(), comments=10))
    with platform.consumer():
        platform.wait_settled()
    ids = [uuid.UUID(item["request_id"]) for item in platform.requests()]
    assert len(set(ids)) == 3
    assert {item.version for item in ids} == {5}
