"""The recommendation to a moderator that follows from a score; the same for the rules and for a model."""

from typing import Final, Literal, TypeAlias

Recommendation: TypeAlias = Literal["SAFE", "REVIEW", "FLAG"]

SCORE_DECIMALS: Final = 6
REVIEW_FROM: Final = 0.3
FLAG_ABOVE: Final = 0.7


def rounded_score(score: float) -> float:
    """The score as it is stored and compared: rounding removes binary errors of sums such as 0.4 + 0.2."""
    return round(score, SCORE_DECIMALS)


def recommend(score: float) -> Recommendation:
    """Recommendation for a score in [0, 1]: below 0.3 SAFE, up to and including 0.7 REVIEW, above FLAG."""
    score = rounded_score(score)
    if score < REVIEW_FROM:
        return "SAFE"
    return "REVIEW" if score <= FLAG_ABOVE else "FLAG"
