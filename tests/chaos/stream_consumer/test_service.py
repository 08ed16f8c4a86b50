"""The stream consumer while it and its servers are killed, stopped and frozen: exact in the end, each time."""

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from gourmetgram.events import Event, parse_time, request_uuid
from gourmetgram_tools.local.stack import Stack
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us
from tests.support.own_stack import own_stack
from tests.support.reference_consumer import PLURAL, ReferenceConsumer, Rule
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(600)]

EVENTS = 50_000
IMAGES = 400
RULES = [
    Rule("viral", "view", "5min", 100),
    Rule("popular", "view", "1hr", 50),
    Rule("suspicious", "comment", "1min", 10),
    Rule("flagged", "flag", "5min", 2),
]


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """Servers and a consumer that these tests may stop."""
    with own_stack("consumer-faults") as stack:
        stack.up(services=("stream_consumer",))
        yield stack


@pytest.fixture
def platform(own: Stack, tmp_path: Path) -> Iterator[ConsumerPlatform]:
    environment = own.environment("stream_consumer")
    client = redis.Redis(environment["REDIS_HOST"], int(environment["REDIS_PORT"]), decode_responses=True)
    yield ConsumerPlatform(environment, client, tmp_path)
    client.close()


@dataclass
class Traffic:
    """Events on their way to Kafka, and what must come of them."""

    platform: ConsumerPlatform
    events: list[dict[str, Any]]
    sent: int = 0

    @classmethod
    def prepare(cls, platform: ConsumerPlatform, size: int = EVENTS, images: int = IMAGES) -> "Traffic":
        names = [new_image() for _ in range(images)]
        kinds = random.choices(["view", "comment", "flag"], [80, 16, 4], k=size)
        start = now_us() - 1000 * size
        return cls(
            platform,
            [event(kind, random.choice(names), start + 1000 * number) for number, kind in enumerate(kinds)],
        )

    def send(self) -> None:
        """Publish everything, in order, in pieces."""
        for first in range(0, len(self.events), 500):
            self.platform.publish(self.events[first : first + 500])
            self.sent = first + 500

    def expected(self) -> ReferenceConsumer:
        reference = ReferenceConsumer(RULES)
        for item in self.events:
            time_us = now_us()
            reference.apply(
                Event(item["event_type"], item["event_id"], item["image_id"], _time_us(item), time_us, True, {})
            )
        return reference

    def check(self) -> None:
        """Compare every count, window, alert and request with the reference: zero differences."""
        self.platform.wait_settled(120)
        reference = self.expected()
        totals = Counter((item["image_id"], item["event_type"]) for item in self.events)
        assert {key: self.platform.total(key[0], PLURAL[key[1]]) for key in totals} == totals
        for image, kind in totals:
            members = self.platform.redis.zrange(f"image:{image}:{PLURAL[kind]}:1hr", 0, -1)
            wanted = {f"{kind}:{t // 1_000_000}.{t % 1_000_000:06d}:{i[:8]}" for t, i in reference.members[image, kind]}
            assert set(members) == wanted
        raised = {
            request_uuid(alert.image_id, alert.trigger, alert.event_id): (alert.image_id, alert.trigger, alert.counts)
            for alert in reference.alerts
            if alert.trigger != "popular"
        }
        sent: dict[str, dict[str, Any]] = {}
        images = {image for image, _ in totals}
        for item in self.platform.requests():
            if item["image_id"] in images:
                # A repeat has the same content.
                assert sent.setdefault(item["request_id"], item) == item
        assert sent.keys() == raised.keys()
        for request_id, (image, trigger, counts) in raised.items():
            item = sent[request_id]
            assert (item["image_id"], item["trigger"]) == (image, trigger)
            assert {name: item["context"][name] for name, _ in counts} == dict(counts)


def _time_us(item: dict[str, Any]) -> int:
    time_us = parse_time(item.get("viewed_at") or item["created_at"])
    assert time_us is not None
    return time_us


def disturbed(traffic: Traffic, disturb: Callable[[], None], times: int) -> None:
    """Send the traffic, and disturb again and again while it flows and is applied."""

    def has_sent(number: int) -> bool:
        return traffic.sent >= number

    sender = threading.Thread(target=traffic.send)
    sender.start()
    step = len(traffic.events) // (times + 1)
    for number in range(1, times + 1):
        wait_until(partial(has_sent, number * step), 120, "the traffic to flow")
        disturb()
    sender.join(120)
    assert not sender.is_alive()


def test_five_kills_while_50_000_events_flow_leave_no_difference(own: Stack, platform: ConsumerPlatform) -> None:
    traffic = Traffic.prepare(platform)

    def kill() -> None:
        own.wait_healthy("stream_consumer")
        own.kill("stream_consumer")

    disturbed(traffic, kill, 5)
    traffic.check()


def test_five_stops_while_50_000_events_flow_leave_no_difference(own: Stack, platform: ConsumerPlatform) -> None:
    traffic = Traffic.prepare(platform)
    disturbed(traffic, lambda: own.restart("stream_consumer"), 5)
    traffic.check()


def test_of_two_replicas_one_may_be_killed(own: Stack, platform: ConsumerPlatform) -> None:
    traffic = Traffic.prepare(platform)
    with platform.process() as second:
        second.wait_line("Reading 8 partitions", 60)
        disturbed(traffic, second.kill, 1)
        traffic.check()


def test_redis_may_stop_and_start_and_be_killed(own: Stack, platform: ConsumerPlatform) -> None:
    traffic = Traffic.prepare(platform)
    faults = iter([own.restart, own.kill, own.restart])
    disturbed(traffic, lambda: next(faults)("redis"), 3)
    own.wait_healthy("redis")
    traffic.check()
    own.wait_healthy("stream_consumer")


def test_a_frozen_redis_makes_the_consumer_unhealthy_and_costs_nothing(own: Stack, platform: ConsumerPlatform) -> None:
    traffic = Traffic.prepare(platform, 5_000, 50)
    own.pause("redis")
    try:
        traffic.send()
        wait_until(lambda: not _is_healthy(own, "stream_consumer"), 30, "the consumer to be unhealthy")
    finally:
        own.resume("redis")
    traffic.check()
    own.wait_healthy("stream_consumer")


def test_the_broker_may_be_away(own: Stack, platform: ConsumerPlatform) -> None:
    traffic = Traffic.prepare(platform, 20_000, 100)
    half = Traffic(platform, traffic.events[:10_000])
    half.send()
    own.stop("kafka")
    wait_until(lambda: not _is_healthy(own, "stream_consumer"), 60, "the consumer to be unhealthy")
    own.start("kafka")
    own.wait_healthy("stream_consumer", 90)
    Traffic(platform, traffic.events[10_000:]).send()
    traffic.check()


def test_the_consumer_ends_in_time_while_its_servers_hang(own: Stack, platform: ConsumerPlatform) -> None:
    with platform.process() as process:
        process.wait_healthy(60)
        own.pause("kafka")
        own.pause("redis")
        try:
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.wait(6) == 0
        finally:
            own.resume("redis")
            own.resume("kafka")
    assert "FINAL STATISTICS" in process.log
    own.wait_healthy("stream_consumer", 90)


def test_milestones_arrive_although_the_database_was_restarted(own: Stack, platform: ConsumerPlatform) -> None:
    image = platform.insert_image()
    own.stop("postgres")
    start = now_us()
    platform.publish([event("view", image, start + number) for number in range(110)])
    platform.wait_settled(60)
    assert platform.total(image) == 110
    own.start("postgres")
    rows = "SELECT milestone_value FROM image_milestones WHERE image_id = %s ORDER BY 1"
    assert wait_until(lambda: platform.rows(rows, image), 30, "the milestones") == [(10,), (100,)]


def _is_healthy(stack: Stack, name: str) -> bool:
    return next(part.healthy for part in stack.status() if part.name == name)
