"""The rules and the recommendation: the contract's vectors, and what must hold for every vector."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.features.definition import FEATURE_NAMES, FeatureInputs, feature_dict, feature_vector
from gourmetgram.policy.heuristic import CONTEXT_COMMENTS_1MIN, NO_RULE_FIRED, PolicyVersion, judge
from gourmetgram.policy.recommendation import recommend

COUNTS = (
    "views_5min",
    "views_1hr",
    "comments_5min",
    "comments_1hr",
    "flags_5min",
    "flags_1hr",
    "total_flags",
)


def evidence(**counts: int) -> dict[str, float]:
    """Features of an image uploaded at the epoch with these counts, everything else 0."""
    zeros = dict.fromkeys(FeatureInputs._fields, 0)
    return feature_dict(feature_vector(FeatureInputs(**{**zeros, "category": "Unknown", **counts})))


VIRAL = evidence(views_5min=110, views_1hr=110)
BURST = evidence(views_5min=110, views_1hr=110, comments_5min=8, comments_1hr=8, total_flags=2)
SPAM = evidence(total_flags=1, comments_5min=11, comments_1hr=11, views_1hr=30)
VIRAL_SPAM = evidence(total_flags=1, comments_5min=11, comments_1hr=11, views_5min=101, views_1hr=101)
FLOOD = evidence(total_flags=1, comments_5min=50, comments_1hr=60, views_1hr=30)


@pytest.mark.parametrize(
    ("features", "version", "score", "recommendation"),
    [
        (evidence(views_5min=100, views_1hr=100), "v1", 0.0, "SAFE"),
        (evidence(views_5min=100, views_1hr=100), "v2", 0.0, "SAFE"),
        (VIRAL, "v1", 0.2, "SAFE"),
        (VIRAL, "v2", 0.0, "SAFE"),
        (BURST, "v1", 0.6, "REVIEW"),
        (BURST, "v2", 0.4, "REVIEW"),
        (SPAM, "v1", 0.7, "REVIEW"),
        (SPAM, "v2", 0.4, "REVIEW"),
        (VIRAL_SPAM, "v1", 0.9, "FLAG"),
        (VIRAL_SPAM, "v2", 0.4, "REVIEW"),
        (FLOOD, "v1", 0.7, "REVIEW"),
        (FLOOD, "v2", 1.0, "FLAG"),
    ],
)
def test_the_contracts_vectors_get_the_contracts_scores(
    features: dict[str, float], version: PolicyVersion, score: float, recommendation: str
) -> None:
    verdict = judge(version, features)
    assert verdict.score == score
    assert recommend(verdict.score) == recommendation


def test_a_short_comment_flood_decides_under_v2_only_through_the_requests_own_count() -> None:
    features = evidence(comments_5min=10, comments_1hr=10, views_1hr=100)
    flooded = {**features, CONTEXT_COMMENTS_1MIN: 10}
    assert judge("v2", features).rationale == NO_RULE_FIRED
    assert judge("v2", flooded) == (0.3, "comment spam: context.comments_1min = 10 (+0.3)")
    assert judge("v2", {**features, CONTEXT_COMMENTS_1MIN: 9}).score == 0.0
    assert judge("v1", flooded).score == 0.0


def test_the_rationale_names_every_rule_that_fired_with_its_values() -> None:
    assert judge("v1", BURST).rationale == "flags: total_flags = 2 (+0.4); views: views_5min = 110 (+0.2)"
    assert judge("v1", evidence()).rationale == NO_RULE_FIRED
    assert judge("v2", FLOOD).rationale == (
        "flags: total_flags = 1 (+0.4); comment spam: comments_5min = 50 (+0.3); "
        "ratio: comment_to_view_ratio = 2 (+0.2); bot pattern: comments_1hr = 60, views_1hr = 30 (+0.3)"
    )


@pytest.mark.parametrize(
    ("score", "recommendation"),
    [
        (0.0, "SAFE"),
        (0.299999, "SAFE"),
        (0.2999996, "REVIEW"),
        (0.3, "REVIEW"),
        (0.1 + 0.2, "REVIEW"),
        (0.7, "REVIEW"),
        (0.7000004, "REVIEW"),
        (0.700001, "FLAG"),
        (1.0, "FLAG"),
    ],
)
def test_the_recommendation_follows_the_rounded_score(score: float, recommendation: str) -> None:
    assert recommend(score) == recommendation


counts = st.fixed_dictionaries({name: st.integers(min_value=0, max_value=1_000) for name in COUNTS})
versions: st.SearchStrategy[PolicyVersion] = st.sampled_from(["v1", "v2"])


@given(version=versions, numbers=counts, comments_1min=st.none() | st.integers(min_value=0, max_value=100))
def test_every_score_is_between_0_and_1_with_at_most_6_decimals(
    version: PolicyVersion, numbers: dict[str, int], comments_1min: int | None
) -> None:
    features = evidence(**numbers)
    if comments_1min is not None:
        features[CONTEXT_COMMENTS_1MIN] = comments_1min
    score, rationale = judge(version, features)
    assert 0 <= score <= 1
    assert score == round(score, 6)
    assert (score == 0) == (rationale == NO_RULE_FIRED)


@given(
    version=versions,
    numbers=counts,
    # More views can only lower a score under v2, which weighs comments against them.
    grown=st.sampled_from(["comments_5min", "comments_1hr", "flags_5min", "flags_1hr", "total_flags"]),
    growth=st.integers(min_value=1, max_value=1_000),
)
def test_more_flags_or_comments_never_lower_a_score(
    version: PolicyVersion, numbers: dict[str, int], grown: str, growth: int
) -> None:
    before = judge(version, evidence(**numbers)).score
    after = judge(version, evidence(**{**numbers, grown: numbers[grown] + growth})).score
    assert after >= before


@given(numbers=counts, growth=st.integers(min_value=1, max_value=1_000))
def test_more_views_never_lower_a_score_under_v1(numbers: dict[str, int], growth: int) -> None:
    more = {**numbers, "views_5min": numbers["views_5min"] + growth, "views_1hr": numbers["views_1hr"] + growth}
    assert judge("v1", evidence(**more)).score >= judge("v1", evidence(**numbers)).score


def test_both_policies_read_nothing_beyond_the_vector_and_the_named_context() -> None:
    assert len(FEATURE_NAMES) == 29
    for version in ("v1", "v2"):
        judge(version, dict.fromkeys(FEATURE_NAMES, 1))
