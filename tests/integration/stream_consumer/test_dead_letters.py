"""Bad messages on every topic: set aside, counted, and the stream goes on."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.support.consumer_platform import TIME_FIELDS, ConsumerPlatform, event, iso, new_image, now_us
from tests.support.topics import without_topic
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

SECOND = 1_000_000


def bad_values(kind: str) -> dict[str, bytes | None]:
    good = event(kind, new_image(), now_us())
    return {
        "the message has no value": None,
        "empty": b"",
        "malformed": b'{"event_type": ',
        "bytes": b"\x00\xff\xfe",
        "a list": b"[1, 2]",
        "unknown type": json.dumps({**good, "event_type": "like"}).encode(),
        "no image": json.dumps({**good, "image_id": None}).encode(),
        "future": json.dumps({**good, TIME_FIELDS[kind]: iso(now_us() + 3600 * SECOND)}).encode(),
        "huge": b"x" * 900_000,
        "deep": b"[" * 50_000,
    }


@pytest.mark.parametrize("kind", TIME_FIELDS)
def test_bad_messages_are_set_aside_once_and_the_good_ones_between_them_count(
    platform: ConsumerPlatform, kind: str
) -> None:
    image = new_image()
    values = bad_values(kind)
    for value in values.values():
        platform.publish_raw(platform.topic(kind), value, key=image)
        platform.publish([event("view", image, now_us())])
    for _ in range(2):
        with platform.consumer(CONSUMER_MAX_BATCH_RECORDS="3"):
            platform.wait_settled()
    assert platform.total(image) == len(values)
    letters = platform.dead_letters()
    assert len(letters) == len(values)
    assert {letter["topic"] for letter in letters} == {platform.topic(kind)}
    assert {letter["consumer_group"] for letter in letters} == {platform.environment["KAFKA_CONSUMER_GROUP"]}
    places = {(letter["partition"], letter["offset"]) for letter in letters}
    assert len(places) == len(values)
    kept = [base64.b64decode(letter["value"]) for letter in letters]
    assert sorted(kept) == sorted((value or b"")[:65_536] for value in values.values())
    assert all("\n" not in letter["error"] and 0 < len(letter["error"]) <= 500 for letter in letters)


def test_wrongly_typed_fields_have_a_meaning_or_none_and_never_stop_the_stream(platform: ConsumerPlatform) -> None:
    image, now = new_image(), now_us()
    odd = {"user_id": 7, "category": ["x"], "caption": {"a": 1}, "s3_url": None, "event_id": [], "actor_eligible": "no"}
    platform.publish([event("upload", image, now, **odd)])
    platform.publish([event("view", image, now, viewed_at=12, created_at=iso(now))])
    platform.publish([event("comment", image, now, created_at=None, content=5)])
    platform.publish([event("flag", image, now, created_at="soon", comment_id=3)])
    with platform.consumer():
        platform.wait_settled()
    assert platform.redis.hget(f"image:{image}:metadata", "category") == "Unknown"
    assert [platform.total(image, kind) for kind in ("views", "comments", "flags")] == [1, 1, 1]
    assert platform.dead_letters() == []


def test_the_extended_labs_simulated_views_count(platform: ConsumerPlatform) -> None:
    """They carry Unix seconds and no event_id."""
    image = new_image()
    for _ in range(3):
        message = {"event_type": "view", "image_id": image, "timestamp": now_us() / SECOND}
        platform.publish_raw(platform.topic("view"), json.dumps(message).encode(), key=image)
    with platform.consumer():
        platform.wait_settled()
    assert platform.total(image) == 3
    assert platform.redis.zcard(f"image:{image}:views:5min") == 3


def test_events_of_unknown_images_are_counted(platform: ConsumerPlatform) -> None:
    image = new_image()
    platform.publish([event(kind, image, now_us()) for kind in ("view", "comment", "flag")])
    with platform.consumer():
        platform.wait_settled()
    assert [platform.total(image, kind) for kind in ("views", "comments", "flags")] == [1, 1, 1]


def test_a_flood_of_bad_messages_does_not_stop_the_good_ones(platform: ConsumerPlatform) -> None:
    image = new_image()
    for number in range(3000):
        platform.producer.produce(platform.topic("view"), value=b"rubbish %d" % number)
    platform.publish([event("view", image, now_us()) for _ in range(100)])
    with platform.consumer():
        platform.wait_settled()
    assert platform.total(image) == 100
    assert len(platform.dead_letters()) == 3000


def test_without_its_dead_letter_topic_the_consumer_says_so_and_goes_on_once_it_is_back(
    platform: ConsumerPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    image, topic = new_image(), platform.environment["DEAD_LETTER_TOPIC"]
    # Longer than the wait for a confirmation, after which the reason is known.
    with platform.consumer(STANDSTILL_SECONDS="4") as consumer:
        url = f"http://127.0.0.1:{consumer.health_port}/health"
        wait_until(lambda: httpx.get(url).status_code == 200, 60.0, "a healthy consumer")
        with without_topic(platform.environment, topic):
            platform.publish_raw(platform.topic("view"), b"{", key=image)
            platform.publish([event("view", image, now_us())])

            def unhealthy() -> dict[str, Any] | None:
                body = httpx.get(url, timeout=30).json()
                return body if not body["checks"]["progress"] and body["checks"]["broker"] else None

            body = wait_until(unhealthy, 60.0, "the truth in /health")
            assert body["status"] == "unhealthy"
            assert topic in body["waiting_for"]
            assert "python -m gourmetgram.topics" in body["waiting_for"]
            assert body["waiting_for"] in caplog.text
            assert platform.total(image) == 0
        platform.wait_settled(60)

        def healthy() -> bool:
            answer = httpx.get(url, timeout=30)
            return answer.status_code == 200 and answer.json()["waiting_for"] is None

        wait_until(healthy, 60.0, "a healthy consumer")
    assert platform.total(image) == 1
    # Its confirmation may come too late on a busy machine: a dead letter is published at least once.
    assert len({(each["topic"], each["partition"], each["offset"]) for each in platform.dead_letters()}) == 1
