"""Section 7 of the contract: every key, its type, members, scores and time to live."""

import re
from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.consumer_platform import ConsumerPlatform, event, new_image, now_us

pytestmark = pytest.mark.servers

SECOND = 1_000_000
KINDS = {"view": "views", "comment": "comments", "flag": "flags"}


@pytest.fixture
def running(platform: ConsumerPlatform) -> Iterator[ConsumerPlatform]:
    with platform.consumer():
        yield platform


def seconds(time_us: int) -> str:
    return f"{time_us // SECOND}.{time_us % SECOND:06d}"


def members(platform: ConsumerPlatform, key: str) -> list[str]:
    return [str(member) for member in platform.redis.zrange(key, 0, -1)]


def scored_members(platform: ConsumerPlatform, key: str) -> list[tuple[str, float]]:
    return cast("list[tuple[str, float]]", platform.redis.zrange(key, 0, -1, withscores=True))


@pytest.mark.parametrize("kind", KINDS)
def test_windows_hold_kind_time_and_the_start_of_the_event_id(running: ConsumerPlatform, kind: str) -> None:
    image, time_us = new_image(), now_us()
    item = event(kind, image, time_us)
    running.publish([item])
    running.wait_applied()
    for window, ttl in {"1min": 60, "5min": 300, "1hr": 7200}.items():
        key = f"image:{image}:{KINDS[kind]}:{window}"
        ((member, score),) = scored_members(running, key)
        assert member == f"{kind}:{seconds(time_us)}:{item['event_id'][:8]}"
        assert round(score * SECOND) == time_us
        assert ttl - 10 <= running.redis.ttl(key) <= ttl
    total = f"image:{image}:total_{KINDS[kind]}"
    assert (running.redis.type(total), running.redis.get(total)) == ("string", "1")
    assert 7 * 86_400 - 10 <= running.redis.ttl(total) <= 7 * 86_400


def test_windows_end_at_the_newest_event_and_are_half_open_to_the_microsecond(running: ConsumerPlatform) -> None:
    image, newest = new_image(), now_us()
    edges = {"1min": 60 * SECOND, "5min": 300 * SECOND, "1hr": 3600 * SECOND}
    times = [newest] + [newest - width + beside for width in edges.values() for beside in (0, 1)]
    running.publish([event("view", image, time_us) for time_us in sorted(times)])
    running.wait_applied()
    for window, width in edges.items():
        kept = {member.split(":")[1] for member in members(running, f"image:{image}:views:{window}")}
        assert kept == {seconds(time_us) for time_us in times if newest - width < time_us}
    assert running.total(image) == len(times)


def test_an_event_out_of_order_joins_the_windows_that_it_belongs_to(running: ConsumerPlatform) -> None:
    image, newest = new_image(), now_us()
    running.publish([event("view", image, newest)])
    running.wait_applied()
    running.publish([event("view", image, newest - 120 * SECOND), event("view", image, newest - 3600 * SECOND)])
    running.wait_applied()
    sizes = {window: running.redis.zcard(f"image:{image}:views:{window}") for window in ("1min", "5min", "1hr")}
    assert sizes == {"1min": 1, "5min": 2, "1hr": 2}
    assert running.total(image) == 3


def test_a_write_renews_the_time_to_live(running: ConsumerPlatform) -> None:
    image = new_image()
    keys = [f"image:{image}:views:{window}" for window in ("1min", "5min", "1hr")] + [f"image:{image}:total_views"]
    running.publish([event("view", image, now_us())])
    running.wait_applied()
    for key in keys:
        running.redis.expire(key, 20)
    running.publish([event("view", image, now_us())])
    running.wait_applied()
    assert all(running.redis.ttl(key) > 20 for key in keys)


def test_metadata_describes_the_upload(running: ConsumerPlatform) -> None:
    image, user, time_us = new_image(), new_image(), now_us()
    running.publish([event("upload", image, time_us, user_id=user, category=" Soup ", caption="Süß 🍲")])
    running.wait_applied()
    key = f"image:{image}:metadata"
    assert running.redis.hgetall(key) == {
        "category": "Soup",
        "caption_length": "5",
        "uploaded_at": seconds(time_us),
        "user_id": user,
    }
    assert 7 * 86_400 - 10 <= running.redis.ttl(key) <= 7 * 86_400


@pytest.mark.parametrize("category", [None, "Pizza", "", 5, "soup"])
def test_a_category_outside_the_eleven_is_unknown(running: ConsumerPlatform, category: object) -> None:
    image = new_image()
    running.publish([event("upload", image, now_us(), category=category, caption=None)])
    running.wait_applied()
    stored = running.redis.hgetall(f"image:{image}:metadata")
    assert (stored["category"], stored["caption_length"], stored["user_id"]) == ("Unknown", "0", "")


@pytest.mark.parametrize(
    ("kind", "trigger", "count"),
    [("view", "viral", 100), ("view", "popular", 50), ("comment", "suspicious", 10), ("flag", "flagged", 2)],
)
def test_an_alert_remembers_the_time_of_its_request_for_longer_than_the_cool_down(
    running: ConsumerPlatform, kind: str, trigger: str, count: int
) -> None:
    image, start = new_image(), now_us()
    running.publish([event(kind, image, start + number) for number in range(count + 5)])
    running.wait_settled()
    key = f"image:{image}:alert:{trigger}"
    assert running.redis.get(key) == seconds(start + count - 1)
    assert running.redis.ttl(key) >= 3600


def test_nothing_else_is_kept_for_an_image_and_all_of_it_ends(running: ConsumerPlatform) -> None:
    image, start = new_image(), now_us()
    running.publish([event("upload", image, start)])
    for kind, count in {"view": 110, "comment": 12, "flag": 3}.items():
        running.publish([event(kind, image, start + number) for number in range(count)])
    running.wait_settled()
    names = {key.removeprefix(f"image:{image}:") for key in running.redis.scan_iter(f"image:{image}:*")}
    windows = {f"{kind}:{window}" for kind in KINDS.values() for window in ("1min", "5min", "1hr")}
    alerts = {f"alert:{trigger}" for trigger in ("viral", "popular", "suspicious", "flagged")}
    assert names == windows | alerts | {"metadata", "total_views", "total_comments", "total_flags"}
    # What is kept beside images is bounded too: it has a time to live, or one entry per partition.
    rest = set(running.redis.scan_iter("consumer:*"))
    lasting = {key for key in rest if running.redis.ttl(key) < 0}
    bounded = ("offsets", "last_records", "origins", "milestones", "layout")
    assert lasting <= {f"consumer:{name}" for name in bounded}
    assert all(re.fullmatch(r"consumer:seen:\d+", key) for key in rest - lasting)
    assert all(running.redis.ttl(key) > 2 * 3600 for key in rest - lasting)
