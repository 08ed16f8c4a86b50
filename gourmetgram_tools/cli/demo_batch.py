"""Batch half of the demonstration: a backfill, its tables, training data, a model, and the model's decisions."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import TransientError
from gourmetgram.models.package import write_package
from gourmetgram.waiting import wait_for
from gourmetgram_tools.cli.burst_view import show_burst
from gourmetgram_tools.cli.compare import compared
from gourmetgram_tools.cli.compare_view import print_comparison
from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.cli.dags import follow
from gourmetgram_tools.cli.demo_site import Site
from gourmetgram_tools.cli.model_store import publisher_of
from gourmetgram_tools.cli.models import trained
from gourmetgram_tools.cli.models_view import print_published, print_training
from gourmetgram_tools.cli.skew import measured
from gourmetgram_tools.cli.skew_view import print_skew
from gourmetgram_tools.cli.trace_view import print_lake_image
from gourmetgram_tools.comparison.report import write_report
from gourmetgram_tools.inspection.burst import BurstPlan
from gourmetgram_tools.inspection.lakehouse import read_lake_image
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.quiescence import look, wait_for_rest

AGGREGATION: Final = "redpanda_event_aggregation"
TRAINING: Final = "moderation_training"

_REST_DEADLINE_S: Final = 900.0
_DAG_DEADLINE_S: Final = 900.0
_MODEL_DEADLINE_S: Final = 60.0
_POLL_S: Final = 0.1

Heading = Callable[[str], None]


class BatchDemo:
    """Steps after the first decisions.

    Args:
        console: receives the output.
        heading: prints the heading of a step.
        site: local stack or Compose lab, with its traffic paused.
        platform: addresses of the stores.
        variables: settings with which its stores and its API are reached.
    """

    def __init__(
        self, console: Console, heading: Heading, site: Site, platform: Platform, variables: dict[str, str]
    ) -> None:
        self._console = console
        self._heading = heading
        self._site = site
        self._platform = platform
        self._variables = variables

    def run(self, image_id: str, html: Path) -> int:
        """Run all steps.

        Args:
            image_id: image of the first burst, which becomes training data.
            html: path of the comparison.

        Returns:
            the number of stored features that differ from their offline computation.

        Raises:
            PlatformError: a step failed.
        """
        self._heading("Backfill, history for training: a week of uploads, views, comments and flags")
        self._site.backfill()
        self._wait_for_rest()
        self._heading("Airflow: the event history becomes Iceberg tables, and those become training data")
        self._run_dag(AGGREGATION)
        self._run_dag(TRAINING)
        self._show_training_rows(image_id)
        self._heading("A model, trained from that snapshot, evaluated on later images, and published")
        self._train()
        self._heading("Another image goes viral: the rules decide, the model scores in shadow mode")
        self._burst_in_mode("shadow")
        self._heading("A third image goes viral: the model decides")
        self._burst_in_mode("model")
        self._heading("Train/serve skew: served features beside those that training computes")
        # The events of both bursts become history, too.
        self._run_dag(AGGREGATION)
        skew = measured(self._variables)
        print_skew(self._console, skew)
        self._heading("Rules and model side by side")
        self._compare(html)
        return skew.differences

    def _wait_for_rest(self) -> None:
        """Wait until every backfilled event is published and counted."""
        engine = create_worker_engine(self._platform.postgres, "gourmetgram-demo")
        try:
            with errors.status("Events in flight") as status:
                wait_for_rest(
                    lambda: look(self._platform, engine),
                    time.monotonic() + _REST_DEADLINE_S,
                    lambda text: status.update(f"Events in flight: {text}"),
                )
        finally:
            engine.dispose()

    def _run_dag(self, name: str) -> None:
        with self._site.airflow() as airflow:
            follow(airflow, name, airflow.trigger(name), _DAG_DEADLINE_S)

    def _show_training_rows(self, image_id: str) -> None:
        self._console.print(f"The viral image {image_id} is part of both now:")
        lake_image = read_lake_image(self._platform.iceberg, image_id, datetime.now(UTC) - timedelta(days=1))
        if lake_image:
            print_lake_image(self._console, lake_image)

    def _train(self) -> None:
        """Train and publish, like `gourmetgram train --publish`."""
        publisher = publisher_of(self._variables)
        run = trained(self._variables, publisher)
        package = publisher.publish(run.package)
        folder = self._site.folder / "model"
        write_package(package, folder)
        print_training(self._console, run, folder)
        print_published(self._console, publisher, package.metadata["version"])

    def _burst_in_mode(self, mode: str) -> None:
        self._site.use_mode(mode)
        self._wait_for_model()
        show_burst(self._console, self._platform, self._variables, BurstPlan())

    def _wait_for_model(self) -> None:
        """Wait until the scorer has loaded the published model."""
        version = publisher_of(self._variables).read_active().metadata["version"]
        wait_for(
            self._site.scorer_health,
            deadline_s=_MODEL_DEADLINE_S,
            every_s=_POLL_S,
            late=lambda answer: TransientError(f"The scorer did not load version {version} of the model: {answer}"),
            done=lambda answer: answer.get("model", {}).get("version") == version,
        )

    def _compare(self, html: Path) -> None:
        with errors.status("Comparing"):
            comparison = compared(self._variables, self._site.trace_command)
            write_report(comparison, html)
        print_comparison(self._console, comparison, 3)
