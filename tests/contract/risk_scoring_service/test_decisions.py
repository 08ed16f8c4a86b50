"""What the contract fixes about a decision: its row, its rationale and its log lines."""

import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from gourmetgram.features.definition import FEATURE_NAMES
from tests.support.object_logins import as_object_user
from tests.support.scoring import NOON, People, Requests, make_request, running_scorer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


def lines(caplog: pytest.LogCaptureFixture, image: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if image[:8] in record.getMessage()]


def test_the_row_of_a_burst_under_v1(scorer_environment: dict[str, str], people: People, requests: Requests) -> None:
    image = people.image(category="Soup", caption="hot")
    for _ in range(2):
        people.flag(image_id=image, created_at=NOON + timedelta(seconds=30))
    request = make_request(
        image,
        NOON + timedelta(minutes=1),
        "flagged",
        views_5min=110,
        views_1hr=110,
        comments_1min=8,
        comments_5min=8,
        comments_1hr=8,
        flags_5min=2,
        flags_1hr=2,
    )
    before = datetime.now(UTC)
    with running_scorer(scorer_environment):
        requests.send(request)
        row = dict(wait_until(lambda: people.decision(request.request_id)))
    assert before - timedelta(seconds=5) < row.pop("created_at") < datetime.now(UTC) + timedelta(seconds=5)
    assert row.pop("id")
    features = row.pop("features")
    assert row == {
        "inference_request_id": request.request_id,
        "target_type": "image",
        "target_id": image,
        "inference_mode": "heuristic",
        "model_version": None,
        "risk_score": 0.6,
        "recommendation": "REVIEW",
        "trigger_type": "flagged",
        "policy_version": "v1",
        "rationale": "flags: total_flags = 2 (+0.4); views: views_5min = 110 (+0.2)",
        "model_score": None,
    }
    # JSONB does not keep an order.
    assert sorted(features) == sorted(FEATURE_NAMES)
    expected = dict.fromkeys(FEATURE_NAMES, 0) | {
        "time_since_upload_seconds": 60,
        "hour_of_day": 12,
        "day_of_week": 2,
        "views_5min": 110,
        "views_1hr": 110,
        "comments_5min": 8,
        "comments_1hr": 8,
        "flags_5min": 2,
        "flags_1hr": 2,
        "total_flags": 2,
        "view_velocity_per_min": 22.0,
        "comment_to_view_ratio": 8 / 110,
        "recent_engagement_score": 150,
        "caption_length": 3,
        "has_caption": 1,
        "user_image_count": 1,
        "user_age_days": 3,
        "category_Soup": 1,
    }
    assert features == expected


@pytest.mark.parametrize(
    ("counts", "score", "recommendation", "rationale"),
    [
        ({}, 0.0, "SAFE", "no rule fired"),
        ({"comments_1min": 10}, 0.3, "REVIEW", "comment spam: context.comments_1min = 10 (+0.3)"),
        ({"comments_1min": 9}, 0.0, "SAFE", "no rule fired"),
        (
            {"comments_1min": 10, "comments_5min": 50, "comments_1hr": 60, "views_1hr": 30},
            0.8,
            "FLAG",
            "comment spam: comments_5min = 50, context.comments_1min = 10 (+0.3); "
            "ratio: comment_to_view_ratio = 2 (+0.2); bot pattern: comments_1hr = 60, views_1hr = 30 (+0.3)",
        ),
    ],
)
def test_rows_under_v2_name_what_decided(
    scorer_environment: dict[str, str],
    people: People,
    requests: Requests,
    counts: dict[str, int],
    score: float,
    recommendation: str,
    rationale: str,
) -> None:
    request = make_request(people.image(), NOON, "suspicious", **counts)
    with running_scorer({**scorer_environment, "POLICY_VERSION": "v2"}):
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
    assert (row["risk_score"], row["recommendation"], row["rationale"]) == (score, recommendation, rationale)
    assert row["policy_version"] == "v2"


def test_the_log_lines_of_a_request_judged_by_rules(
    scorer_environment: dict[str, str], people: People, requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "risk_scoring_service")
    image = people.image()
    people.flag(image_id=image, created_at=NOON)
    request = make_request(image, views_5min=110)
    with running_scorer(scorer_environment):
        requests.send(request, request)
        wait_until(lambda: requests.committed() == 2)
    received = f"Received moderation request for image {image} (trigger: viral)"
    decided = f"[HEURISTIC] Image {image[:8]}... → probability=0.60, recommendation=REVIEW"
    stored = f"Stored moderation decision for {image[:8]}..."
    # Delivered twice, received twice, decided and stored once.
    assert sorted(lines(caplog, image)) == sorted([received, received, decided, stored])
    assert lines(caplog, image).index(decided) < lines(caplog, image).index(stored)


def test_without_a_model_the_rules_step_in_and_say_so(
    scorer_environment: dict[str, str],
    s3_environment: dict[str, str],
    people: People,
    requests: Requests,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "risk_scoring_service")
    request = make_request(people.image(), views_5min=110)
    models = {"MODEL_BUCKET": s3_environment["S3_BUCKET_NAME"], "MODEL_PREFIX": "models/moderation/"}
    login = as_object_user({**s3_environment, **models}, "gourmetgram_scorer")
    environment = {**scorer_environment, **login, "INFERENCE_MODE": "model"}
    with running_scorer(environment):
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
    assert (row["inference_mode"], row["risk_score"]) == ("heuristic_fallback", 0.2)
    assert (row["model_version"], row["model_score"]) == (None, None)
    short = request.image_id[:8]
    assert f"[HEURISTIC] Image {short}... → probability=0.20, recommendation=SAFE (mode=heuristic_fallback)" in lines(
        caplog, request.image_id
    )
    # A model that is not there yet is nothing to warn about.
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert caplog.messages.count("Checking MinIO for new model artifacts...") == 1


def test_health_and_metrics_tell_what_goes_on(
    scorer_environment: dict[str, str], people: People, requests: Requests
) -> None:
    request = make_request(people.image())
    with running_scorer(scorer_environment) as service:
        address = f"http://127.0.0.1:{service.health_port}"
        wait_until(lambda: httpx.get(f"{address}/health").status_code == 200)
        requests.send(request, b"{")
        wait_until(lambda: requests.committed() == 2)
        health, metrics = httpx.get(f"{address}/health").json(), httpx.get(f"{address}/metrics").text
    checks = {"postgres": True, "kafka": True, "loop": True, "progress": True}
    assert health == {"status": "healthy", "checks": checks, "waiting_for": None}
    for name in ("decisions_total", "dead_letters_total", "failures_total", "latency_seconds_count", "lag"):
        assert f"gourmetgram_scorer_{name}" in metrics
