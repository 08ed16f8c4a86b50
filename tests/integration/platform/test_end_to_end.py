"""All services on real servers: a burst leads to the same two decisions each time, and all stores agree.

`GOURMETGRAM_TEST_TARGET=compose` runs these tests on the Compose lab of this machine instead of a stack of their own:
without traffic (`docker compose stop data_generator`), and with a scorer that decides by rules.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
import typer
from typer.testing import CliRunner

from gourmetgram.clients import s3
from gourmetgram.settings import process_environment
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.cli.target import Target, environment, platform_of, selected_platform
from gourmetgram_tools.inspection.audit import AuditResult, audit
from gourmetgram_tools.inspection.burst import BurstPlan, burst
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.trace import trace
from gourmetgram_tools.local.services import inherited_environment
from tests.support.own_stack import own_stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

SERVICES = ("api_v2", "stream_consumer", "risk_scoring_service")


class Site(NamedTuple):
    """Where the tests run.

    Attributes:
        options: of a subcommand, to look there.
        platform: its addresses.
        generator_environment: with which a data generator reaches it.
    """

    options: tuple[str, str]
    platform: Platform
    generator_environment: dict[str, str]


@pytest.fixture(scope="module", name="site")
def site_fixture() -> Iterator[Site]:
    """A stack of its own with all services except steady traffic, or the lab."""
    if process_environment().get("GOURMETGRAM_TEST_TARGET") == "compose":
        context = typer.Context(typer.main.get_command(app))
        platform = selected_platform(context, None, Target.COMPOSE)
        variables = environment(context, None, Target.COMPOSE)
        yield Site(("--target", "compose"), platform, {**inherited_environment(), **variables})
        return
    with own_stack("end-to-end") as stack:
        stack.up(SERVICES)
        variables = {**inherited_environment(), **stack.environment("data_generator")}
        yield Site(("--stack", stack.name), platform_of(stack), variables)


@pytest.fixture(scope="module", name="platform")
def platform_fixture(site: Site) -> Platform:
    return site.platform


@pytest.fixture(scope="module", name="generator_environment")
def generator_environment_fixture(site: Site) -> dict[str, str]:
    return site.generator_environment


def _decisions(result: AuditResult) -> int:
    return {check.name: check.actual for check in result.checks}["decisions"]


def test_each_of_three_bursts_is_judged_viral_and_flagged_with_the_same_scores(
    platform: Platform, generator_environment: dict[str, str]
) -> None:
    images = set()
    before = _decisions(audit(platform))
    for _ in range(3):
        result = burst(platform, generator_environment, BurstPlan(views=110, comments=8, flags=2))
        images.add(result.image_id)
        assert [(each.trigger, each.risk_score, each.recommendation) for each in result.decisions] == [
            ("viral", 0.0, "SAFE"),
            ("flagged", 0.6, "REVIEW"),
        ]
        found = trace(platform, result.image_id)
        assert found.rows.image is not None and found.rows.image.views == 110
        viral, flagged = found.records.requests
        assert (viral.context["views_5min"], viral.context["flags_5min"]) == (100, 0)
        assert (flagged.context["views_5min"], flagged.context["comments_5min"], flagged.context["flags_5min"]) == (
            110, 8, 2,
        )  # fmt: skip
        assert all(row.features is not None and len(row.features) == 29 for row in found.rows.decisions)
    assert len(images) == 3
    result_of_audit = audit(platform)
    assert [check for check in result_of_audit.checks if not check.ok] == []
    assert _decisions(result_of_audit) == before + 6


def test_a_second_burst_on_the_same_image_within_the_hour_repeats_no_request(
    platform: Platform, generator_environment: dict[str, str]
) -> None:
    image_id = burst(platform, generator_environment, BurstPlan()).image_id
    comments_only = BurstPlan(views=0, comments=10, flags=0, image_id=image_id)
    decided = burst(platform, generator_environment, comments_only).decisions
    assert [each.trigger for each in decided] == ["suspicious"]
    # The comments reach ten a minute; views and flags stay in their cool-down.
    assert [request.trigger for request in trace(platform, image_id).records.requests] == [
        "viral", "flagged", "suspicious",
    ]  # fmt: skip
    assert audit(platform).differences == 0


def test_what_the_api_answers_with_a_client_error_leaves_nothing_behind(site: Site, platform: Platform) -> None:
    url = platform.api_url
    before = audit(platform)
    unknown = "00000000-0000-4000-8000-000000000000"
    with httpx.Client(base_url=url) as client:
        answers = [
            client.post(f"/images/{unknown}/view"),
            client.post("/comments/", json={"image_id": unknown, "user_id": unknown, "content": "x"}),
            client.post("/flags/", json={"user_id": unknown, "reason": "x"}),
            client.post("/upload/", data={"user_id": unknown}, files={"file": ("x.jpg", b"no picture")}),
        ]
    assert [400 <= answer.status_code < 500 for answer in answers] == [True] * 4
    after = audit(platform)
    assert (after.events, after.differences) == (before.events, 0)


def test_the_commands_print_one_json_document_and_end_with_the_right_code(site: Site, platform: Platform) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["audit", *site.options, "--json"])
    assert (done.exit_code, json.loads(done.stdout)["differences"]) == (0, 0)
    image_id = httpx.get(f"{platform.api_url}/images/", params={"limit": 1}).json()[0]["id"]
    traced = runner.invoke(app, ["trace", *site.options, image_id[:8], "--json"])
    document = json.loads(traced.stdout)
    assert (traced.exit_code, document["image_id"]) == (0, image_id)
    event_id = document["events"][0]["event_id"]
    followed = runner.invoke(app, ["trace", *site.options, "--event", event_id, "--json"])
    assert json.loads(followed.stdout)["image_id"] == image_id


def test_an_orphan_object_makes_the_command_fail(site: Site, platform: Platform) -> None:
    client = s3.connect(platform.objects, s3.JOB)
    client.put_object(Bucket=platform.objects.s3_bucket_name, Key="orphan.jpg", Body=b"x")
    try:
        done = CliRunner().invoke(app, ["audit", *site.options])
    finally:
        client.delete_object(Bucket=platform.objects.s3_bucket_name, Key="orphan.jpg")
    assert done.exit_code == 1
    assert "object orphan.jpg belongs to no image" in done.stdout
