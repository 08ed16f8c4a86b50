"""Drift checks in MLflow: a run for each, with an index per feature and the report as a page."""

from typing import Final, NamedTuple

import mlflow

from gourmetgram.drift.comparison import DriftReport
from gourmetgram.drift.report import drift_page
from gourmetgram.moments import utc_text
from model_training.lifecycle.tracking import recorded_run

EXPERIMENT: Final = "/Shared/gourmetgram-drift"
PAGE: Final = "drift.html"
"""Artifact with the report, which MLflow's pages show."""


class LoggedDrift(NamedTuple):
    """Ids of a run in MLflow, and of its experiment."""

    run_id: str
    experiment_id: str


def log_drift(report: DriftReport, experiment: str = EXPERIMENT) -> LoggedDrift:
    """Store a report in a run of its own.

    The metrics are `psi_<feature>`, `psi_max` (the largest index among the features that decide), `served_rows` and
    `training_rows`. With too few rows there are only the numbers of rows. The artifacts are the HTML page and the same
    figures as JSON.

    Args:
        report: result of a comparison.
        experiment: name of the experiment, which is created if it is missing.

    Raises:
        TransientError: MLflow, or the object store behind it, is away; the run is marked as failed.
        PermanentError: MLflow refuses, for example because the experiment was deleted in its pages.
    """
    metrics = {f"psi_{name}": value for name, value in report.psi.items()}
    if report.largest is not None:
        metrics["psi_max"] = report.largest.psi
    metrics |= {"served_rows": report.served_rows, "training_rows": report.training_rows}
    with recorded_run(experiment, f"drift-{report.made_at:%Y-%m-%d-%H%M%S}", _tags(report)) as run:
        mlflow.log_metrics(metrics)
        mlflow.log_text(drift_page(report), PAGE)
        mlflow.log_dict(report.document(), "drift.json")
    return LoggedDrift(run.info.run_id, run.info.experiment_id)


def _tags(report: DriftReport) -> dict[str, str]:
    return {
        "gourmetgram.snapshot_id": _text(report.snapshot_id),
        "gourmetgram.model_version": _text(report.model_version),
        "gourmetgram.since": utc_text(report.window.since),
        "gourmetgram.until": utc_text(report.window.until),
        "gourmetgram.drifted": ", ".join(report.drifted) or "none",
        "gourmetgram.summary": report.summary,
    }


def _text(number: int | None) -> str:
    return "none" if number is None else str(number)
