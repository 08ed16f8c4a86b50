"""Rules and model side by side: the figures, the report, and the command."""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from pyiceberg.catalog import Catalog
from typer.testing import CliRunner

from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.training.run import TrainingRun, train
from gourmetgram_tools.cli.compare import compared
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.comparison.report import held_out_disagreements, render
from tests.support.scoring import People
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = pytest.mark.servers

VIRAL = {**dict.fromkeys(FEATURE_NAMES, 0), "views_5min": 110}


@pytest.fixture
def people(lake_environment: dict[str, str]) -> People:
    return People(lake_environment["DATABASE_URL"])


@pytest.fixture
def published(catalog: Catalog, publisher: ModelPublisher) -> TrainingRun:
    """A model, published, and the figures of its training."""
    write_rows(catalog, synthetic_rows(images=200))
    run = train(catalog, version=1, passes=3)
    publisher.publish(run.package)
    return run


def decide(people: People, mode: str, risk_score: float, recommendation: str, **values: Any) -> str:
    image_id = str(uuid.uuid4())
    people.insert(
        "moderation",
        target_type="image",
        target_id=image_id,
        inference_mode=mode,
        risk_score=risk_score,
        recommendation=recommendation,
        **{"trigger_type": "viral", "created_at": datetime.now(UTC), **values},
    )
    return image_id


def test_held_out_figures_are_those_of_the_training_run(
    published: TrainingRun, lake_environment: dict[str, str]
) -> None:
    found = compared(lake_environment, "gourmetgram trace {image_id}").held_out
    assert found is not None
    assert (found.model, found.rules, found.newest) == (published.model, published.rules, False)
    assert found.scores.image_ids == published.scores.image_ids
    assert found.horizon_minutes == 1440
    for row in held_out_disagreements(found):
        assert row.by_rules != row.by_model


def test_when_the_snapshot_is_gone_the_newest_one_is_judged(
    published: TrainingRun, publisher: ModelPublisher, lake_environment: dict[str, str]
) -> None:
    metadata = {**published.package.metadata, "snapshot_id": "1"}
    publisher.publish(published.package._replace(metadata=metadata))
    found = compared(lake_environment, "{image_id}").held_out
    assert found is not None
    assert (found.newest, found.snapshot_id) == (True, published.snapshot_id)
    assert found.model == published.model


def test_held_out_rows_are_judged_with_the_horizon_of_the_model(
    catalog: Catalog, publisher: ModelPublisher, lake_environment: dict[str, str]
) -> None:
    write_rows(catalog, synthetic_rows(images=200))
    run = train(catalog, version=1, horizon_minutes=20, passes=1)
    publisher.publish(run.package)
    set_otherwise = {**lake_environment, "LABEL_HORIZON_MINUTES": "60"}
    comparison = compared(set_otherwise, "{image_id}")
    assert comparison.held_out is not None
    assert (comparison.held_out.horizon_minutes, comparison.held_out.model) == (20, run.model)
    assert "Label horizon: 20 minutes" in render(comparison)


def test_a_model_without_a_horizon_is_not_compared_and_the_reason_is_given(
    published: TrainingRun, publisher: ModelPublisher, lake_environment: dict[str, str]
) -> None:
    metadata = {name: value for name, value in published.package.metadata.items() if name != "label_horizon_minutes"}
    publisher.publish(published.package._replace(metadata=metadata))
    comparison = compared(lake_environment, "{image_id}")
    assert comparison.held_out is None
    assert "(label_horizon_minutes): train and publish one" in comparison.missing


def test_decisions_are_compared_where_both_gave_an_opinion(people: People, lake_environment: dict[str, str]) -> None:
    shadow = decide(people, "shadow", 0.2, "SAFE", model_score=0.9, model_version="1")
    by_model = decide(
        people, "model", 0.25, "SAFE", model_score=0.25, model_version="1", features=orjson.dumps(VIRAL).decode()
    )
    decide(people, "heuristic", 0.6, "REVIEW", trigger_type="flagged")
    comparison = compared(lake_environment, "gourmetgram trace {image_id}")
    opinions = {each.image_id: (each.rules, each.model, each.disagree) for each in comparison.decisions.opinions}
    # The rules' score of a row that the model decided follows from its features: 110 views, 0.2.
    assert opinions == {shadow: (0.2, 0.9, True), by_model: (0.2, 0.25, False)}
    assert [each.image_id for each in comparison.decisions.disagreements] == [shadow]
    counts = [(row.mode, row.trigger, row.decisions, row.safe, row.review) for row in comparison.decisions.counts]
    assert counts == [("heuristic", "flagged", 1, 0, 1), ("model", "viral", 1, 1, 0), ("shadow", "viral", 1, 1, 0)]
    assert comparison.missing.startswith("No model is published")


def test_the_report_needs_nothing_else(
    published: TrainingRun, people: People, lake_environment: dict[str, str]
) -> None:
    shadow = decide(people, "shadow", 0.2, "SAFE", model_score=0.9, model_version="1", trigger_type="<b>odd</b>")
    html = render(compared(lake_environment, "gourmetgram trace {image_id}"))
    assert html.count('src="data:image/png;base64,') == 4
    assert f"gourmetgram trace {shadow}" in html
    assert not re.search(r"https?://|<script|<link|<b>odd", html)
    for title in ("average precision", "calibration error", "held out of training", "Decisions", "&lt;b&gt;odd"):
        assert title.lower() in html.lower()


def test_a_report_without_model_and_decisions_says_what_to_do(lake_environment: dict[str, str]) -> None:
    html = render(compared(lake_environment, "{image_id}"))
    assert "gourmetgram train --publish" in html
    assert "INFERENCE_MODE=shadow" in html


def test_the_commands_go_from_training_to_the_report(
    catalog: Catalog, lake_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("models", "compare"):
        monkeypatch.setattr(f"gourmetgram_tools.cli.{module}.running_environment", lambda *_: lake_environment)
    write_rows(catalog, synthetic_rows(images=60))
    folder, html = tmp_path / "models", tmp_path / "reports" / "comparison.html"

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "Model version 1 is in" in run("train", "--folder", folder, "--passes", 2)
    assert "Version 1 is in use" in run("models", "publish", "--folder", folder)
    assert orjson.loads(run("train", "--folder", folder, "--passes", 1, "--publish", "--json"))["version"] == 2
    assert re.search(r"● in use\s+2 ", run("models", "list"))
    assert "Version 1 is in use" in run("models", "rollback")
    assert "Version 2 is in use" in run("models", "activate", 2)
    output = run("compare", "--html", html, "--examples", 1)
    assert "average precision" in output
    assert html.read_text().startswith("<!DOCTYPE html>")
