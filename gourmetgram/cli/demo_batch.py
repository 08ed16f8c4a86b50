"""The demonstration's batch half: a past, its tables, training data, a model, and the model's own decisions."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console

from gourmetgram.cli.burst_view import show_burst
from gourmetgram.cli.compare import compared, trace_command
from gourmetgram.cli.compare_view import print_comparison
from gourmetgram.cli.console import errors
from gourmetgram.cli.dags import airflow_of, follow
from gourmetgram.cli.models import publisher_of, trained
from gourmetgram.cli.models_view import print_published, print_training
from gourmetgram.cli.skew import measured
from gourmetgram.cli.skew_view import print_skew
from gourmetgram.cli.trace_view import print_lake_image
from gourmetgram.comparison.report import write_report
from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import TransientError
from gourmetgram.inspection.burst import Plan
from gourmetgram.inspection.platform import Platform
from gourmetgram.inspection.quiescence import look, wait_for_rest
from gourmetgram.inspection.trace_lakehouse import read_lake_image
from gourmetgram.local.services import inherited_environment
from gourmetgram.local.stack import Stack
from gourmetgram.models.package import write_package
from gourmetgram.settings import PROJECT_ROOT

AGGREGATION: Final = "redpanda_event_aggregation"
TRAINING: Final = "moderation_training"
SCORER: Final = "risk_scoring_service"

_REST_DEADLINE_S: Final = 900.0
_DAG_DEADLINE_S: Final = 900.0
_MODEL_DEADLINE_S: Final = 60.0
_POLL_S: Final = 0.1

Heading = Callable[[str], None]


def batch_steps(console: Console, heading: Heading, stack: Stack, platform: Platform, image_id: str, html: Path) -> int:
    """Run all steps after the first decisions.

    Args:
        console: where to print.
        heading: begins a step.
        stack: runs everything; its traffic is paused.
        platform: where its stores are.
        image_id: of the first burst, which becomes training data.
        html: where the comparison is written.

    Returns:
        how many stored features differ from those computed again offline.

    Raises:
        PlatformError: a step failed.
    """
    heading("A past to learn from: a week of uploads, views, comments and flags")
    _backfill(stack)
    _wait_for_rest(platform)
    heading("Airflow: the event history becomes Iceberg tables, and those become training data")
    _run_dag(stack, AGGREGATION)
    _run_dag(stack, TRAINING)
    console.print(f"The image that went viral, {image_id}, is part of both now:")
    lake_image = read_lake_image(platform.iceberg, image_id, datetime.now(UTC) - timedelta(days=1))
    if lake_image:
        print_lake_image(console, lake_image)
    heading("A model, trained from that snapshot, judged on later images, and published")
    _train(console, stack)
    heading("Another image goes viral: the rules decide, the model gives its opinion beside them")
    _use_mode(stack, "shadow")
    show_burst(console, platform, stack.environment("data_generator"), Plan())
    heading("A third one: now the model decides")
    _use_mode(stack, "model")
    show_burst(console, platform, stack.environment("data_generator"), Plan())
    heading("Are the features that were served those that training computes?")
    # The two bursts become history too.
    _run_dag(stack, AGGREGATION)
    skew = measured(stack.environment())
    print_skew(console, skew)
    heading("Rules and model side by side")
    _compare(console, stack, html)
    return skew.differences


def _backfill(stack: Stack) -> None:
    """Write the default history; a second demonstration finds it there."""
    variables = {
        **inherited_environment(),
        **stack.environment("data_generator"),
        "GENERATOR_MODE": "backfill",
        "GENERATOR_BACKFILL_TRUTH_PATH": str(stack.folder / "ground-truth.csv"),
    }
    done = subprocess.run([sys.executable, "-m", "data_generator"], cwd=PROJECT_ROOT, env=variables, check=False)
    if done.returncode:
        raise TransientError("The backfill failed: its last lines are above.")


def _wait_for_rest(platform: Platform) -> None:
    """Wait until every past event is published and counted."""
    engine = create_worker_engine(platform.postgres, "gourmetgram-demo")
    try:
        with errors.status("Events on their way") as status:
            wait_for_rest(
                lambda: look(platform, engine),
                time.monotonic() + _REST_DEADLINE_S,
                lambda text: status.update(f"Events on their way: {text}"),
            )
    finally:
        engine.dispose()


def _run_dag(stack: Stack, name: str) -> None:
    with airflow_of(stack) as airflow:
        follow(airflow, name, airflow.trigger(name), _DAG_DEADLINE_S)


def _train(console: Console, stack: Stack) -> None:
    """As `gourmetgram train --publish`."""
    variables = stack.environment(SCORER)
    publisher = publisher_of(variables)
    run = trained(variables, publisher)
    package = publisher.publish(run.package)
    folder = stack.folder / "model"
    write_package(package, folder)
    print_training(console, run, folder)
    print_published(console, publisher, package.metadata["version"])


def _use_mode(stack: Stack, mode: str) -> None:
    """Restart the scorer in another mode, and wait until it has the published model."""
    version = publisher_of(stack.environment(SCORER)).read_active().metadata["version"]
    stack.override("INFERENCE_MODE", mode)
    stack.restart(SCORER)
    url = f"http://127.0.0.1:{stack.ports.risk_scoring_service}/health"
    deadline = time.monotonic() + _MODEL_DEADLINE_S
    while True:
        answer = httpx.get(url, timeout=5).json()
        model = answer.get("model", {})
        if model.get("version") == version:
            return
        if time.monotonic() > deadline:
            raise TransientError(f"The scorer did not load version {version} of the model: {answer}")
        time.sleep(_POLL_S)


def _compare(console: Console, stack: Stack, html: Path) -> None:
    with errors.status("Comparing"):
        comparison = compared(stack.environment(SCORER), trace_command(stack.name))
        write_report(comparison, html)
    print_comparison(console, comparison, 3)
