"""Several Redis servers and many partitions: the same counts as with one, each key on its own server."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from confluent_kafka.admin import AdminClient

from gourmetgram.clients.redis import WORKER
from gourmetgram.clients.redis_servers import RedisServers, server_of_image
from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.redis_keys import LAYOUT
from gourmetgram.settings import KafkaSettings, RedisSettings
from gourmetgram.topics import ensure_topics
from stream_consumer.service import StreamConsumer
from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us
from tests.support.topic_variables import EVENT_TOPICS, OTHER_TOPICS
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

MILLISECOND = 1_000


@pytest.fixture
def sharded(platform: ConsumerPlatform) -> Iterator[ConsumerPlatform]:
    """The platform with two Redis databases in the place of two servers; they know nothing of each other."""
    host, port = platform.environment["REDIS_HOST"], int(platform.environment["REDIS_PORT"])
    first = int(platform.environment["REDIS_DB"])
    with redis.Redis(host, port, 0) as counter:
        second = 1 + int(counter.incr("tests:databases")) % 1000
    other = redis.Redis(host, port, second, decode_responses=True)
    other.flushdb()
    platform.environment["REDIS_URLS"] = f"redis://{host}:{port}/{first},redis://{host}:{port}/{second}"
    platform.others = (other,)
    yield platform
    other.flushdb()
    other.close()


def traffic(images: list[str]) -> list[dict[str, Any]]:
    """110 views, 8 comments and 2 flags of each image, one event a millisecond."""
    kinds = ["view"] * 110 + ["comment"] * 8 + ["flag"] * 2
    start = now_us() - len(kinds) * MILLISECOND
    return [event(kind, image, start + n * MILLISECOND) for n, kind in enumerate(kinds) for image in images]


def assert_counted(platform: ConsumerPlatform, events: list[dict[str, Any]]) -> None:
    counted = Counter((item["image_id"], item["event_type"]) for item in events)
    assert {key: platform.total(key[0], f"{key[1]}s") for key in counted} == counted
    asked = Counter((item["image_id"], item["trigger"]) for item in platform.requests())
    images = {image for image, _kind in counted}
    assert asked == {(image, trigger): 1 for image in images for trigger in ("viral", "flagged")}


def waiting_for(consumer: StreamConsumer) -> str:
    return str(consumer._worker._health.waiting_for)  # the sentence of /health


def test_each_key_is_on_the_server_of_its_image_and_counts_are_those_of_the_events(sharded: ConsumerPlatform) -> None:
    images = [new_image() for _ in range(16)]
    events = traffic(images)
    sharded.publish(events)
    with sharded.consumer():
        sharded.wait_settled()
    assert_counted(sharded, events)
    assert {server_of_image(image, 2) for image in images} == {0, 1}
    for index, server in enumerate(sharded.servers):
        held = {key.split(":")[1] for key in server.scan_iter("image:*")}
        assert held == {image for image in images if server_of_image(image, 2) == index}
        numbers = {int(str(name).rsplit("/", 1)[1]) % 2 for name in server.hkeys("consumer:offsets")}
        assert numbers == {index}
        assert server.get(LAYOUT) == f"{index}/2"
        assert server.exists("consumer:waiting") == 0
    milestones = {f"{image}/100" for image in images}
    assert {name for server in sharded.servers for name in server.hkeys("consumer:milestones")} <= milestones


def test_events_that_come_twice_count_once_on_every_server(sharded: ConsumerPlatform) -> None:
    events = traffic([new_image() for _ in range(8)])
    sharded.publish(events)
    with sharded.consumer():
        sharded.wait_settled()
        sharded.publish(events)
        sharded.wait_settled()
    assert_counted(sharded, events)


def test_a_server_that_was_emptied_is_built_again_from_the_topics(sharded: ConsumerPlatform) -> None:
    events = traffic([new_image() for _ in range(8)])
    sharded.publish(events)
    with sharded.consumer():
        sharded.wait_settled()
        sharded.others[0].flushdb()
        sharded.wait_settled()
    assert_counted(sharded, events)


@pytest.mark.parametrize("change", ["fewer", "other order"])
def test_another_list_of_servers_is_refused_until_all_of_them_are_emptied(
    sharded: ConsumerPlatform, change: str
) -> None:
    events = traffic([new_image() for _ in range(8)])
    sharded.publish(events)
    with sharded.consumer():
        sharded.wait_settled()
    before = sharded.image_state()
    first, second = sharded.environment["REDIS_URLS"].split(",")
    urls = first if change == "fewer" else f"{second},{first}"
    with pytest.raises(TransientError, match="REDIS_URLS"):
        RedisServers.connect(RedisSettings(redis_urls=tuple(urls.split(","))), WORKER).check()
    sharded.publish(traffic([events[0]["image_id"]])[:1])
    with sharded.consumer(REDIS_URLS=urls) as consumer:
        wait_until(lambda: "holds the state of server" in waiting_for(consumer), 30.0, "the refusal")
        assert sharded.image_state() == before
        for server in sharded.servers:
            server.flushdb()
        sharded.wait_settled()
    assert sharded.total(events[0]["image_id"]) == 111
    assert sum(sharded.total(image) for image in {item["image_id"] for item in events}) == 8 * 110 + 1


def test_state_of_one_server_is_not_taken_for_the_first_of_two(sharded: ConsumerPlatform) -> None:
    urls = sharded.environment.pop("REDIS_URLS")
    events = traffic([new_image()])
    sharded.publish(events)
    with sharded.consumer():
        sharded.wait_settled()
    # Versions without a mark wrote the state, too.
    for mark in ("0/1", None):
        if mark is None:
            sharded.redis.delete(LAYOUT)
        with sharded.consumer(REDIS_URLS=urls) as consumer:
            wait_until(lambda: "server 0/1" in waiting_for(consumer), 30.0, "the refusal")
    assert sharded.others[0].dbsize() == 0
    assert sharded.total(events[0]["image_id"]) == 110


def test_a_number_of_servers_that_does_not_divide_the_partitions_is_refused(sharded: ConsumerPlatform) -> None:
    first, second = sharded.environment["REDIS_URLS"].split(",")
    third = first.rsplit("/", 1)[0] + "/0"
    with sharded.consumer(REDIS_URLS=",".join((first, second, third))) as consumer:
        wait_until(lambda: "4 partitions, which 3 Redis servers" in waiting_for(consumer), 30.0, "the refusal")


def test_an_event_in_a_partition_of_another_server_becomes_a_dead_letter(sharded: ConsumerPlatform) -> None:
    image = new_image()
    lost, kept = event("view", image, now_us()), event("view", image, now_us())
    home = server_of_image(image, 2)
    sharded.publish([kept])
    sharded.producer.produce(sharded.topic("view"), key=image, value=json.dumps(lost), partition=1 - home)
    assert sharded.producer.flush(10) == 0
    with sharded.consumer():
        sharded.wait_settled()
    assert sharded.total(image) == 1
    (letter,) = sharded.dead_letters()
    assert "another partition" in letter["error"]


@pytest.fixture
def wide(sharded: ConsumerPlatform, unique_name: Callable[[str], str]) -> Iterator[ConsumerPlatform]:
    """Topics of 200 partitions each."""
    names = {variable: unique_name("wide") for variable in (*EVENT_TOPICS, *OTHER_TOPICS)}
    bootstrap = sharded.environment["KAFKA_BOOTSTRAP_SERVERS"]
    events = [names[variable] for variable in EVENT_TOPICS]
    ensure_topics(KafkaSettings(kafka_bootstrap_servers=bootstrap), names.values())
    ensure_topics(KafkaSettings(kafka_bootstrap_servers=bootstrap), events, partitions=200)
    sharded.environment.update(names, KAFKA_TOPICS=",".join(events))
    yield sharded
    with AdminClient({"bootstrap.servers": bootstrap}) as admin:
        for deleted in admin.delete_topics(list(names.values())).values():
            deleted.result()


def test_two_consumers_share_200_partitions_and_one_takes_over_when_the_other_is_killed(wide: ConsumerPlatform) -> None:
    images = [new_image() for _ in range(60)]
    events = traffic(images)
    wide.publish(events[: len(events) // 2])
    with wide.process() as one, wide.process() as two:
        wait_until(lambda: "Reading 400 partitions" in one.log and "Reading 400 partitions" in two.log, 60.0, "a share")
        wide.publish(events[len(events) // 2 :])
        one.kill()
        wide.wait_settled(90.0)
        wide.publish(events)
        wide.wait_settled(90.0)
        two.wait_healthy()
    assert_counted(wide, events)
    assert {partition.number for partition in wide.applied()} == set(range(200))
    assert Partition(wide.topic("view"), 199) in wide.applied()
