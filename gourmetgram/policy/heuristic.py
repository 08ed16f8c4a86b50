"""The rules: two versions of a policy, each a table of conditions and points (rule 28 of docs/rules.md)."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from gourmetgram.policy.recommendation import rounded_score

PolicyVersion: TypeAlias = Literal["v1", "v2"]

Evidence: TypeAlias = Mapping[str, float]
"""The 29 features by name, and `CONTEXT_COMMENTS_1MIN` when the request carried it."""

CONTEXT_COMMENTS_1MIN: Final = "context.comments_1min"
"""Not a feature: the request's own count. It shows a short flood of comments, which the 5-minute count dilutes."""

NO_RULE_FIRED: Final = "no rule fired"
MAX_SCORE: Final = 1.0


class PolicyRule(NamedTuple):
    """One condition of a policy.

    Attributes:
        name: name of the rule in a rationale.
        points: its part of the score.
        holds: returns the values that made it fire, by name; empty when it does not fire.
    """

    name: str
    points: float
    holds: Callable[[Evidence], dict[str, float]]


class Verdict(NamedTuple):
    """A score in [0, 1], rounded to 6 decimals, and its rationale: the rules that fired."""

    score: float
    rationale: str


def _over(feature: str, limit: float) -> Callable[[Evidence], dict[str, float]]:
    """A condition: the feature is above a limit."""

    def holds(evidence: Evidence) -> dict[str, float]:
        value = evidence[feature]
        return {feature: value} if value > limit else {}

    return holds


def _comment_flood(evidence: Evidence) -> dict[str, float]:
    """10 or more comments a minute: over five minutes by the vector, over one by the request's own count."""
    fired = {}
    if evidence["comments_5min"] >= 50:
        fired["comments_5min"] = evidence["comments_5min"]
    if evidence.get(CONTEXT_COMMENTS_1MIN, 0) >= 10:
        fired[CONTEXT_COMMENTS_1MIN] = evidence[CONTEXT_COMMENTS_1MIN]
    return fired


def _bot_pattern(evidence: Evidence) -> dict[str, float]:
    """Many comments on an image with few views."""
    if evidence["comments_1hr"] > 50 and evidence["views_1hr"] < 100:
        return {name: evidence[name] for name in ("comments_1hr", "views_1hr")}
    return {}


_FLAGS: Final = PolicyRule("flags", 0.4, _over("total_flags", 0))

POLICIES: Final[Mapping[PolicyVersion, tuple[PolicyRule, ...]]] = {
    "v1": (
        _FLAGS,
        PolicyRule("comment spam", 0.3, _over("comments_5min", 10)),
        PolicyRule("views", 0.2, _over("views_5min", 100)),
    ),
    "v2": (
        _FLAGS,
        PolicyRule("comment spam", 0.3, _comment_flood),
        PolicyRule("ratio", 0.2, _over("comment_to_view_ratio", 0.5)),
        PolicyRule("bot pattern", 0.3, _bot_pattern),
    ),
}


def judge(version: PolicyVersion, evidence: Evidence) -> Verdict:
    """Score an image by the rules.

    Args:
        version: version of the policy.
        evidence: the features by name; for v2 also `CONTEXT_COMMENTS_1MIN` when the request carried it.
    """
    score = 0.0
    reasons = []
    for rule in POLICIES[version]:
        fired = rule.holds(evidence)
        if fired:
            score += rule.points
            reasons.append(_reason(rule, fired))
    return Verdict(min(rounded_score(score), MAX_SCORE), "; ".join(reasons) or NO_RULE_FIRED)


def _reason(rule: PolicyRule, fired: Mapping[str, float]) -> str:
    """E.g. `views: views_5min = 110 (+0.2)`."""
    values = ", ".join(f"{name} = {value:.10g}" for name, value in fired.items())
    return f"{rule.name}: {values} (+{rule.points})"
