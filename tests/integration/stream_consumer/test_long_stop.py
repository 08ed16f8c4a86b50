"""A stop of the consumer alone, for hours: the keys of the windows expire, and no count changes."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from gourmetgram.events import Event, parse_time, request_uuid
from gourmetgram.redis_keys import IMAGE_WINDOW, SEEN
from gourmetgram.windows import WINDOW_US
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us
from tests.support.reference_consumer import PLURAL, ReferenceConsumer, Rule

pytestmark = pytest.mark.servers

MINUTE = 60_000_000
HOUR = 60 * MINUTE
RULES = [
    Rule("viral", "view", "5min", 20),
    Rule("popular", "view", "1hr", 60),
    Rule("suspicious", "comment", "1min", 2),
    Rule("flagged", "flag", "5min", 2),
]
LIMITS = {
    "VIRAL_THRESHOLD_VIEWS_5MIN": "20",
    "POPULAR_THRESHOLD_VIEWS_1HR": "60",
    "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "2",
    "FLAGGED_THRESHOLD_FLAGS_5MIN": "2",
}


@pytest.fixture
def past(platform: ConsumerPlatform) -> Iterator[ConsumerPlatform]:
    """Topics whose records have the time that their producer gives them: hours pass without waiting."""
    admin = AdminClient({"bootstrap.servers": platform.environment["KAFKA_BOOTSTRAP_SERVERS"]})
    create_time = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[create_time])
        for topic in platform.environment["KAFKA_TOPICS"].split(",")
    ]
    for answer in admin.incremental_alter_configs(resources).values():
        answer.result(10)
    yield platform


def time_of(item: dict[str, Any]) -> int:
    time_us = parse_time(item.get("viewed_at") or item["created_at"])
    assert time_us is not None
    return time_us


def publish(platform: ConsumerPlatform, events: Iterable[dict[str, Any]]) -> None:
    """Publish events as the broker would have stored them at their own times."""
    for item in events:
        platform.producer.produce(
            platform.topic(item["event_type"]),
            key=item["image_id"],
            value=json.dumps(item),
            timestamp=time_of(item) // 1000 + 1,
        )
    assert platform.producer.flush(10) == 0


def history(start_us: int, hours: int, images: int) -> list[dict[str, Any]]:
    """Events in the order of their times: bursts and quiet minutes of a few images."""
    dice = random.Random(7)
    names = [new_image() for _ in range(images)]
    time_us, end_us, events = start_us, start_us + hours * HOUR, []
    while time_us < end_us:
        time_us += dice.choice([200_000, 2_000_000, 20_000_000]) + dice.randrange(1000)
        kind = dice.choices(["view", "comment", "flag"], [85, 12, 3])[0]
        events.append(event(kind, dice.choice(names), time_us))
    return events


def expire_windows(platform: ConsumerPlatform) -> None:
    keys = [key for name in WINDOW_US for key in platform.redis.keys(IMAGE_WINDOW % ("*", "*", name))]
    assert keys
    platform.redis.delete(*keys)


def check(platform: ConsumerPlatform, events: list[dict[str, Any]]) -> None:
    """Compare totals, requests and contexts with an uninterrupted reference."""
    reference = ReferenceConsumer(RULES)
    for item in events:
        time_us = time_of(item)
        reference.apply(Event(item["event_type"], item["event_id"], item["image_id"], time_us, time_us, True, {}))
    totals = Counter((item["image_id"], item["event_type"]) for item in events)
    assert {key: platform.total(key[0], PLURAL[key[1]]) for key in totals} == totals
    sent = {item["request_id"]: item for item in platform.requests()}
    assert len(sent) == len(platform.requests())
    raised = {
        request_uuid(alert.image_id, alert.trigger, alert.event_id): alert
        for alert in reference.alerts
        if alert.trigger != "popular"
    }
    assert sent.keys() == raised.keys()
    for request_id, alert in raised.items():
        context = sent[request_id]["context"]
        for kind, plural in PLURAL.items():
            for window in ("1min", "5min", "1hr"):
                if f"{plural}_{window}" in context:
                    wanted = reference.count(alert.image_id, kind, window, alert.time_us)
                    assert context[f"{plural}_{window}"] == wanted, (alert, plural, window)


@pytest.mark.parametrize("stops", [[0.5], [0.3, 0.31, 0.7]])
def test_requests_and_contexts_are_those_of_a_consumer_that_never_stopped(
    past: ConsumerPlatform, stops: list[float]
) -> None:
    events = history(now_us() - 8 * HOUR, hours=5, images=3)
    first = 0
    for stop in [*stops, 1.0]:
        last = round(stop * len(events))
        publish(past, events[first:last])
        with past.consumer(**LIMITS):
            past.wait_settled(60)
        expire_windows(past)
        first = last
    check(past, events)


def test_contexts_are_the_same_when_topics_are_hours_apart_and_batches_are_small(past: ConsumerPlatform) -> None:
    """Few records at a time: contexts are fixed while another topic is still hours behind."""
    events = history(now_us() - 8 * HOUR, hours=5, images=3)
    publish(past, events)
    with past.consumer(CONSUMER_MAX_BATCH_RECORDS="10", CONSUMER_MAX_POLL_RECORDS="10", **LIMITS):
        past.wait_settled(60)
    check(past, events)


def test_duplicates_on_both_sides_of_a_stop_that_outlives_the_memory_of_ids_count_once(
    past: ConsumerPlatform,
) -> None:
    events = [event("view", new_image(), now_us() - 30 * HOUR + second * 1_000_000) for second in range(20)]
    publish(past, events)
    with past.consumer():
        past.wait_settled()
    expire_windows(past)
    past.redis.delete(*past.redis.keys(SEEN % "*"))
    # The relay was killed after it had published, and its successor published the same rows a second later.
    publish(past, events[10:])
    with past.consumer():
        past.wait_settled()
    assert [past.total(item["image_id"]) for item in events] == [1] * 20


def test_a_short_stop_reads_nothing_again(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish([event("view", image, now_us()) for _ in range(5)])
    with platform.consumer():
        platform.wait_settled()
    expire_windows(platform)
    platform.publish([event("view", image, now_us()) for _ in range(5)])
    with platform.consumer():
        platform.wait_settled()
    assert platform.redis.zcard(IMAGE_WINDOW % (image, "views", "1hr")) == 5
