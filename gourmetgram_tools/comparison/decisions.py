"""Scores of rules and model for the same requests, from the rows of `moderation`."""

from collections import Counter
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from gourmetgram.database.tables import moderation
from gourmetgram.errors import TransientError
from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.policy.heuristic import POLICIES, judge
from gourmetgram.policy.recommendation import Recommendation, recommend

MAX_ROWS: Final = 200_000
"""Largest number of decisions, newest first; more would not change a plot."""


class Opinion(NamedTuple):
    """Scores of rules and model for one request.

    Attributes:
        image_id: the image that was scored.
        mode: `inference_mode` of the row, which names the decider.
        trigger: the reason of the request.
        created_at: time of the decision.
        rules: score of the rules.
        model: probability of the model.
        model_version: version of the model.
    """

    image_id: str
    mode: str
    trigger: str
    created_at: datetime
    rules: float
    model: float
    model_version: str

    @property
    def by_rules(self) -> Recommendation:
        """Recommendation of the rules."""
        return recommend(self.rules)

    @property
    def by_model(self) -> Recommendation:
        """Recommendation of the model."""
        return recommend(self.model)

    @property
    def disagree(self) -> bool:
        """Return whether the recommendations differ."""
        return self.by_rules != self.by_model


class ModeCount(NamedTuple):
    """Decisions of one mode on one trigger."""

    mode: str
    trigger: str
    decisions: int
    mean_score: float
    safe: int
    review: int
    flag: int


class DecisionComparison(NamedTuple):
    """Content of the rows of `moderation`.

    Attributes:
        counts: decisions by mode and trigger.
        opinions: requests with a score of both, newest first.
    """

    counts: list[ModeCount]
    opinions: list[Opinion]

    @property
    def disagreements(self) -> list[Opinion]:
        """Requests with different recommendations, the widest apart first."""
        found = [opinion for opinion in self.opinions if opinion.disagree]
        return sorted(found, key=lambda opinion: -abs(opinion.rules - opinion.model))

    def scores(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of the rules and of the model, each of shape (opinions,)."""
        return (
            np.array([opinion.rules for opinion in self.opinions], dtype=np.float64),
            np.array([opinion.model for opinion in self.opinions], dtype=np.float64),
        )


def compare_decisions(engine: Engine) -> DecisionComparison:
    """Read the newest decisions on images.

    Raises:
        TransientError: PostgreSQL is away.
    """
    columns = moderation.c
    statement = (
        select(
            columns.target_id,
            columns.inference_mode,
            columns.trigger_type,
            columns.created_at,
            columns.risk_score,
            columns.recommendation,
            columns.policy_version,
            columns.features,
            columns.model_score,
            columns.model_version,
        )
        .where(columns.target_type == "image")
        .order_by(columns.created_at.desc(), columns.id)
        .limit(MAX_ROWS)
    )
    grouped: dict[tuple[str, str], list[tuple[float, str]]] = {}
    opinions = []
    try:
        with engine.connect() as connection:
            for row in connection.execute(statement):
                trigger = row.trigger_type or "unknown"
                advice = row.recommendation or recommend(row.risk_score)
                grouped.setdefault((row.inference_mode, trigger), []).append((row.risk_score, advice))
                rules = _rule_score(row.inference_mode, row.risk_score, row.policy_version, row.features)
                if row.model_score is not None and rules is not None:
                    opinions.append(
                        Opinion(
                            str(row.target_id),
                            row.inference_mode,
                            trigger,
                            row.created_at,
                            rules,
                            row.model_score,
                            row.model_version or "",
                        )
                    )
    except DBAPIError as error:
        raise TransientError(f"the decisions could not be read: {str(error.orig).strip()}") from error
    return DecisionComparison([_count(*key, rows) for key, rows in sorted(grouped.items())], opinions)


def _rule_score(mode: str, score: float, policy: str, features: dict[str, float] | None) -> float | None:
    """Score of the rules: as stored or, for a decision of the model, computed from the stored features.

    A row lacks the count of comments in the last minute, which policy v2 also uses.
    """
    if mode != "model":
        return score
    if policy not in POLICIES or not features or any(name not in features for name in FEATURE_NAMES):
        return None
    return judge("v2" if policy == "v2" else "v1", features).score


def _count(mode: str, trigger: str, rows: list[tuple[float, str]]) -> ModeCount:
    advice = Counter(each for _, each in rows)
    mean = sum(score for score, _ in rows) / len(rows)
    return ModeCount(mode, trigger, len(rows), mean, advice["SAFE"], advice["REVIEW"], advice["FLAG"])
