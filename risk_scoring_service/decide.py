"""From features to a decision: the choice between rules and model, and the content of the row."""

import logging
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from gourmetgram.events import MAX_COUNT, ModerationRequest
from gourmetgram.features.definition import FeatureVector, feature_dict
from gourmetgram.policy.heuristic import CONTEXT_COMMENTS_1MIN, PolicyVersion, Verdict, judge
from gourmetgram.policy.recommendation import Recommendation, recommend, rounded_score
from risk_scoring_service.settings import InferenceMode

log = logging.getLogger(__name__)

DecisionMode = Literal["heuristic", "model", "heuristic_fallback", "shadow"]


class RiskModel(Protocol):
    """A trained model as this service sees it."""

    @property
    def version(self) -> str:
        """Version for rows and log lines."""

    def probabilities(self, vectors: Sequence[FeatureVector]) -> list[float]:
        """The probability of class 1 (needs moderation) of each vector.

        Raises:
            ValueError: the model cannot score these vectors.
        """


class Decision(NamedTuple):
    """One row of `moderation`; fields have the names of its columns where they are the same."""

    request: ModerationRequest
    inference_mode: DecisionMode
    model_version: str | None
    risk_score: float
    recommendation: Recommendation
    policy_version: PolicyVersion
    rationale: str
    features: dict[str, float]
    model_score: float | None

    def describe(self) -> str:
        """The decision's log line."""
        name = {"model": "MODEL", "shadow": "SHADOW"}.get(self.inference_mode, "HEURISTIC")
        line = (
            f"[{name}] Image {self.request.image_id[:8]}... → "
            f"probability={self.risk_score:.2f}, recommendation={self.recommendation}"
        )
        match self.inference_mode:
            case "heuristic":
                return line
            case "heuristic_fallback":
                return f"{line} (mode=heuristic_fallback)"
            case "model":
                return f"{line} (mode=model, version={self.model_version})"
            case "shadow":
                return f"{line} (mode=shadow, version={self.model_version}, model_probability={self.model_score:.2f})"


class Judge:
    """Decides by the configured mode and policy.

    Args:
        mode: see `ScorerSettings.inference_mode`.
        policy: version of the rules.
    """

    def __init__(self, mode: InferenceMode, policy: PolicyVersion) -> None:
        self._mode = mode
        self._policy = policy

    def decide(
        self, requests: Sequence[ModerationRequest], vectors: Sequence[FeatureVector], model: RiskModel | None
    ) -> list[Decision]:
        """Decide a batch.

        Args:
            requests: the requests.
            vectors: the features of each request's image as of its time.
            model: the model in use; one object for the whole batch, so that a swap cannot split it.
        """
        probabilities = self._ask(model, vectors)
        return [
            self._decision(request, vector, None if model is None else model.version, probability)
            for request, vector, probability in zip(requests, vectors, probabilities, strict=True)
        ]

    def _ask(self, model: RiskModel | None, vectors: Sequence[FeatureVector]) -> list[float | None]:
        """The model's probabilities; None where it has none and the rules must decide."""
        if model is None or self._mode == "heuristic":
            return [None] * len(vectors)
        try:
            probabilities = model.probabilities(vectors)
        except Exception:  # an estimator from a file may raise anything; the requests must still be decided
            log.warning("Model version %s failed on a batch; the rules decide", model.version, exc_info=True)
            return [None] * len(vectors)
        return [rounded_score(value) if math.isfinite(value) else None for value in probabilities]

    def _decision(
        self, request: ModerationRequest, vector: FeatureVector, version: str | None, probability: float | None
    ) -> Decision:
        features = feature_dict(vector)
        verdict, mode = self._by_rules(request, features), self._row_mode(probability)
        if mode == "model" and probability is not None:
            verdict = Verdict(probability, f"model probability {probability:g} (version {version})")
        elif mode == "shadow":
            verdict = verdict._replace(
                rationale=f"{verdict.rationale}; shadow model probability {probability:g} (version {version})"
            )
        return Decision(
            request=request,
            inference_mode=mode,
            model_version=None if probability is None else version,
            risk_score=verdict.score,
            recommendation=recommend(verdict.score),
            policy_version=self._policy,
            rationale=verdict.rationale,
            features=features,
            model_score=probability,
        )

    def _row_mode(self, probability: float | None) -> DecisionMode:
        if self._mode == "heuristic" or probability is not None:
            return self._mode
        return "heuristic_fallback"

    def _by_rules(self, request: ModerationRequest, features: dict[str, float]) -> Verdict:
        comments_1min = request.context.get("comments_1min")
        # bool is a subclass of int, but no count.
        if type(comments_1min) is int and 0 <= comments_1min <= MAX_COUNT:
            return judge(self._policy, {**features, CONTEXT_COMMENTS_1MIN: comments_1min})
        return judge(self._policy, features)
