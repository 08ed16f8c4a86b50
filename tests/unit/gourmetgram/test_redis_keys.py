"""Names of keys, and what can be read back from them."""

import pytest

from gourmetgram.redis_keys import (
    IMAGE_ALERT,
    IMAGE_METADATA,
    IMAGE_TOTAL,
    IMAGE_WINDOW,
    ImageKey,
    event_member,
    longest_window,
    parse_image_key,
    score_us,
    window_bounds,
)

IMAGE = "0a1b2c3d-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        (IMAGE_WINDOW % (IMAGE, "views", "5min"), ImageKey(IMAGE, "window", plural="views", window="5min")),
        (IMAGE_TOTAL % (IMAGE, "flags"), ImageKey(IMAGE, "total", plural="flags")),
        (IMAGE_ALERT % (IMAGE, "anchor_5"), ImageKey(IMAGE, "alert", trigger="anchor_5")),
        (IMAGE_METADATA % IMAGE, ImageKey(IMAGE, "metadata")),
    ],
)
def test_keys_of_images_are_read_back(key: str, parsed: ImageKey) -> None:
    assert parse_image_key(key) == parsed


@pytest.mark.parametrize(
    "key",
    [
        f"image:{IMAGE}:views:2min",
        f"image:{IMAGE}:likes:5min",
        f"image:{IMAGE}:total_likes",
        f"image:{IMAGE}:metadata:more",
        f"image:{IMAGE}:alert:",
        "image:7:metadata",
        "consumer:offsets",
    ],
)
def test_other_keys_are_none(key: str) -> None:
    assert parse_image_key(key) is None


def test_the_longest_window_answers_all_counts_of_a_kind() -> None:
    assert longest_window(IMAGE, "view") == f"image:{IMAGE}:views:1hr"


@pytest.mark.parametrize("time_us", [0, 1_763_700_000_123_456, 1_763_700_000_000_001, -1_500_000])
def test_a_member_carries_its_time_to_the_microsecond(time_us: int) -> None:
    member = event_member("view", time_us, IMAGE)
    assert member.endswith(":0a1b2c3d")
    assert score_us(member.split(":")[1]) == time_us


def test_the_bounds_of_a_window_leave_its_first_moment_out() -> None:
    assert window_bounds(300_000_001, 300_000_000) == ("(0.000001", "300.000001")
