"""Runs of MLflow that end whatever happens, beside the connection, which the registry's readers share."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run, RunStatus
from mlflow.exceptions import MlflowException
from pandas.errors import Pandas4Warning  # type: ignore[import-untyped]

from gourmetgram.moments import to_us
from gourmetgram.registry.connection import TrackingSettings, connect, named_failures, run_page, silence_client

__all__ = [
    "TrackingSettings",
    "connect",
    "end_abandoned_runs",
    "named_failures",
    "quiet_mlflow",
    "recorded_run",
    "run_page",
    "silence_client",
]

log = logging.getLogger(__name__)

ABANDONED_AFTER: Final = timedelta(hours=1)
"""A run that has been RUNNING for so long was killed, or lost its server: a training takes less than a minute."""


@contextmanager
def recorded_run(experiment: str, name: str, tags: dict[str, str]) -> Iterator[Run]:
    """A run of an experiment, which is FINISHED after the block, or FAILED when the block raises an error.

    Args:
        experiment: name of the experiment, which is created if it is missing.
        name: name of the run.
        tags: tags of the run.

    Raises:
        TransientError: MLflow is away.
        PermanentError: MLflow refuses, for example because the experiment was deleted in its pages.
    """
    with named_failures(f"No run could be started in the experiment {experiment}"):
        experiment_id = mlflow.set_experiment(experiment).experiment_id
        end_abandoned_runs(experiment_id)
        run = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=tags)
    try:
        with named_failures(f"Run {run.info.run_id} failed"):
            yield run
    except BaseException:
        _fail(run.info.run_id)
        raise
    with named_failures(f"Run {run.info.run_id} could not be ended"):
        mlflow.end_run()


def end_abandoned_runs(experiment_id: str, now: datetime | None = None) -> list[str]:
    """Mark runs as FAILED that were killed, or whose server was away when they failed.

    Args:
        experiment_id: the experiment.
        now: None = the machine's clock.

    Returns:
        The ids of the runs.
    """
    client = MlflowClient()
    before_ms = to_us((now or datetime.now(UTC)) - ABANDONED_AFTER) // 1000
    query = f"attributes.status = 'RUNNING' and attributes.start_time < {before_ms}"
    abandoned = [each.info.run_id for each in client.search_runs([experiment_id], query)]
    for run_id in abandoned:
        client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
        log.warning("Run %s was RUNNING for more than an hour: marked as FAILED", run_id)
    return abandoned


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Suppress warnings of MLflow's client about its own code, and its hint about integers that may be missing."""
    with warnings.catch_warnings():
        # Labels are never missing.
        warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column", category=UserWarning)
        # MLflow's own code uses pandas in ways that the next version of pandas changes.
        warnings.filterwarnings("ignore", category=Pandas4Warning, module=r"mlflow\.")
        yield


def _fail(run_id: str) -> None:
    try:
        mlflow.end_run(RunStatus.to_string(RunStatus.FAILED))
    except (MlflowException, OSError):
        log.warning(
            "Run %s stays RUNNING, because MLflow is away: a training after %d minutes marks it as FAILED",
            run_id,
            ABANDONED_AFTER // timedelta(minutes=1),
        )
