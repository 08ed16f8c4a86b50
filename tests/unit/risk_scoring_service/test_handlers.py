"""The handler with hand-written servers that fail on demand."""

from collections.abc import Sequence

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram.events import ModerationRequest, Record
from gourmetgram.features.definition import UNKNOWN_CATEGORY, FeatureVector
from gourmetgram.features.online import ImageCounts, ImageFacts
from gourmetgram.windows import COUNT_NAMES
from risk_scoring_service.decide import Decision, Judge
from risk_scoring_service.handlers import Handler, Waiting
from risk_scoring_service.store import ServerError

FACTS = ImageFacts(0, None, 0, 0, UNKNOWN_CATEGORY, 0, 1)
COUNTS = dict.fromkeys(COUNT_NAMES, 0)


class Postgres:
    """Knows every image; refuses to store decisions on the `poisonous` ones."""

    def __init__(self, poisonous: Sequence[str] = ()) -> None:
        self.poisonous = set(poisonous)
        self.rows: dict[str, Decision] = {}

    def facts(self, requests: Sequence[ModerationRequest]) -> list[ImageFacts | None]:
        return [FACTS for _ in requests]

    def insert(self, decisions: Sequence[Decision]) -> set[str]:
        if any(decision.request.image_id in self.poisonous for decision in decisions):
            raise PermanentError("refused")
        new = {decision.request.request_id: decision for decision in decisions}
        fresh = new.keys() - self.rows.keys()
        self.rows |= {name: new[name] for name in fresh}
        return set(fresh)


class Windows:
    """Redis, while `away` is False."""

    away = False

    def counts(self, requests: Sequence[ModerationRequest]) -> list[ImageCounts]:
        if self.away:
            raise ServerError("redis", ConnectionError("refused"))
        return [{**COUNTS, "views_5min": 101} for _ in requests]


class Model:
    """Answers as told."""

    version = "9"

    def __init__(self, answer: float | Exception) -> None:
        self.answer = answer

    def probabilities(self, vectors: Sequence[FeatureVector]) -> list[float]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in vectors]


def item(number: int, *, complete: bool = True) -> Waiting:
    request = ModerationRequest(f"request-{number}", f"image-{number}", "viral", 0, dict(COUNTS) if complete else {})
    return Waiting(Record("requests", 0, number, 0, b""), request)


def offsets(records: Sequence[Record]) -> list[int]:
    return sorted(record.offset for record in records)


def test_without_redis_only_requests_without_counts_wait() -> None:
    postgres, windows = Postgres(), Windows()
    handler = Handler(postgres, windows, Judge("heuristic", "v1"), 30)
    batch = [item(1), item(2, complete=False), item(3)]
    windows.away = True
    assert offsets(handler.handle(batch, None).settled) == [1, 3]
    assert batch[1].due > 0
    windows.away = False
    assert offsets(handler.handle(batch[1:2], None).settled) == [2]
    assert postgres.rows["request-2"].risk_score == 0.2


def test_a_request_that_cannot_be_stored_is_given_up_alone() -> None:
    postgres = Postgres(poisonous=["image-2"])
    outcome = Handler(postgres, Windows(), Judge("heuristic", "v1"), 30).handle([item(n) for n in (1, 2, 3)], None)
    assert offsets(outcome.settled) == [1, 3]
    assert [(record.offset, bad.error) for record, bad in outcome.dead] == [(2, "refused")]
    assert postgres.rows.keys() == {"request-1", "request-3"}


@pytest.mark.parametrize(
    "answer", [float("nan"), float("inf"), ValueError("no"), TypeError("no"), MemoryError()], ids=repr
)
def test_a_model_that_fails_leaves_the_decision_to_the_rules(answer: float | Exception) -> None:
    postgres = Postgres()
    Handler(postgres, Windows(), Judge("model", "v1"), 30).handle([item(1, complete=False)], Model(answer))
    decision = postgres.rows["request-1"]
    assert (decision.inference_mode, decision.risk_score) == ("heuristic_fallback", 0.2)
    assert (decision.model_version, decision.model_score) == (None, None)


def test_a_models_probability_is_rounded_before_it_is_judged() -> None:
    postgres = Postgres()
    Handler(postgres, Windows(), Judge("model", "v1"), 30).handle([item(1)], Model(0.70000004))
    decision = postgres.rows["request-1"]
    assert (decision.risk_score, decision.model_score, decision.recommendation) == (0.7, 0.7, "REVIEW")


def test_in_heuristic_mode_a_model_is_not_asked() -> None:
    postgres = Postgres()
    Handler(postgres, Windows(), Judge("heuristic", "v1"), 30).handle([item(1)], Model(AssertionError("asked")))
    assert postgres.rows["request-1"].inference_mode == "heuristic"
