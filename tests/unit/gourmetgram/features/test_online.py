from collections.abc import Sequence
from typing import Any

import pytest

from gourmetgram.events import ModerationRequest
from gourmetgram.features.definition import FEATURE_NAMES, UNKNOWN_CATEGORY
from gourmetgram.features.online import ImageCounts, ImageFacts, online_vectors
from gourmetgram.windows import COUNT_NAMES

VIEWS = FEATURE_NAMES.index("views_5min")
TOTAL_FLAGS = FEATURE_NAMES.index("total_flags")


def request(number: int, views: int | None = None) -> ModerationRequest:
    context = {} if views is None else {**dict.fromkeys(COUNT_NAMES, 0), "views_5min": views}
    return ModerationRequest(f"request-{number}", f"image-{number}", "viral", 1_000_000, context)


def facts(total_flags: int) -> ImageFacts:
    return ImageFacts(0, None, 0, 0, UNKNOWN_CATEGORY, total_flags, 1)


class FakeRedis:
    """Answers 100 views for image 0, 101 for image 1 and so on; None while it is away."""

    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.asked: list[str] = []

    def __call__(self, requests: Sequence[ModerationRequest]) -> Sequence[ImageCounts] | None:
        self.asked += [item.image_id for item in requests]
        if self.away:
            return None
        numbers = [int(item.image_id.removeprefix("image-")) for item in requests]
        return [{**dict.fromkeys(COUNT_NAMES, 0), "views_5min": 100 + number} for number in numbers]


REQUESTS = [request(0), request(1, views=7), request(2), request(3, views=0)]
FACTS = [facts(number) for number in range(4)]


def test_counts_come_from_the_context_where_it_is_complete_and_else_from_redis() -> None:
    redis = FakeRedis()
    found = {n: vector for part in online_vectors(REQUESTS, FACTS, redis) for n, vector in part}
    assert [found[n][VIEWS] for n in range(4)] == [100, 7, 102, 0]
    assert [found[n][TOTAL_FLAGS] for n in range(4)] == [0, 1, 2, 3]
    assert redis.asked == ["image-0", "image-2"]


def test_redis_is_asked_only_after_the_first_part_was_taken() -> None:
    redis = FakeRedis()
    parts = online_vectors(REQUESTS, FACTS, redis)
    assert [n for n, _ in next(parts)] == [1, 3]
    assert not redis.asked
    assert [n for n, _ in next(parts)] == [0, 2]


def test_without_redis_the_second_part_is_missing() -> None:
    (part,) = online_vectors(REQUESTS, FACTS, FakeRedis(away=True))
    assert [n for n, _ in part] == [1, 3]


def test_complete_contexts_need_no_redis() -> None:
    redis = FakeRedis(away=True)
    (part,) = online_vectors(REQUESTS[1::2], FACTS[1::2], redis)
    assert [n for n, _ in part] == [0, 1]
    assert not redis.asked


@pytest.mark.parametrize("views", [True, -1, 2**60, "7", None])
def test_a_context_with_an_unusable_count_is_not_complete(views: Any) -> None:
    redis = FakeRedis()
    list(online_vectors([request(0)._replace(context={**REQUESTS[1].context, "views_5min": views})], FACTS[:1], redis))
    assert redis.asked == ["image-0"]
