"""The whole platform on servers with TLS and a login each: an upload becomes a decision, and rows of the lakehouse."""

import subprocess
import sys

import pytest

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram_tools.inspection.audit import audit
from gourmetgram_tools.inspection.burst import BurstPlan, burst
from tests.support.secured import kafka, redis
from tests.support.secured.platform import SecuredPlatform

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]


def test_a_burst_is_decided_aggregated_and_exact(secured_platform: SecuredPlatform) -> None:
    platform = secured_platform.platform
    with secured_platform.services():
        result = burst(platform, {**process_environment(), **secured_platform.addresses}, BurstPlan())
        assert [decision.trigger for decision in result.decisions] == ["viral", "flagged"]
        answer = subprocess.run(
            [sys.executable, "-m", "tests.support.aggregate_once"],
            env={**process_environment(), **secured_platform.batch},
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        found = audit(platform, deadline_s=120)
    assert [check for check in found.checks if not check.ok] == []
    # No training data was made here.
    assert [each.partition(":")[0] for each in found.skipped] == ["moderation.training_data"]
    with open_catalog(platform.iceberg) as catalog:
        # An upload, 110 views, 8 comments and 2 flags.
        assert len(catalog.load_table("event_aggregations.events").scan().to_arrow()) == found.events >= 121
    written = "".join(secured_platform.log_of(name).read_text() for name in ("api_v2", "stream_consumer"))
    written += secured_platform.log_of("risk_scoring_service").read_text() + answer.stdout + answer.stderr
    for secret in (kafka.PASSWORD, redis.PASSWORD, "gourmetgram_api@", "gourmetgram_minio"):
        assert secret not in written
