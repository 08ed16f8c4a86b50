"""`gourmetgram drift`: served features compared with those that the model in use was trained on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gourmetgram_tools.cli.console import console, errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption

if TYPE_CHECKING:
    from gourmetgram.drift.comparison import DriftReport


def drift(
    context: typer.Context,
    hours: Annotated[float, typer.Option(min=0.01, help="Length of the window of decisions, which ends now.")] = 24.0,
    html: Annotated[
        Path | None, typer.Option("--report", help="Path of an HTML report with the shares of each feature.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    fail_above: Annotated[
        float | None, typer.Option(min=0, help="Exit 1 when the largest index is above this number.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Store the indexes and the report in MLflow.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Compare the features of decisions with the training rows of the model in use: drift, feature by feature."""
    variables = running_environment(context, stack, target, ("postgres", "minio"))
    # Imported here: PyIceberg, scikit-learn and MLflow take seconds to import, which `status` does not need.
    from gourmetgram.drift.report import write_drift_report
    from gourmetgram_tools.cli.drift_view import print_drift
    from gourmetgram_tools.cli.output import page, print_json

    with errors.status("Comparing"):
        report = compared_features(variables, hours)
    if html:
        write_drift_report(report, html)
    address = _logged(variables, report) if log else None
    if as_json:
        print_json({**report.document(), "mlflow": address})
    else:
        print_drift(page(), report)
        for title, place in (("Report", html and html.resolve()), ("MLflow", address)):
            if place:
                console.print(f"{title}: {place}", highlight=False, soft_wrap=True)
    if fail_above is not None and report.largest is not None and report.largest.psi > fail_above:
        raise typer.Exit(1)


def compared_features(variables: dict[str, str], hours: float) -> "DriftReport":
    """Compare the decisions of the last hours on the platform that the variables name.

    Raises:
        PlatformError: a store is away, or there is no training table.
    """
    from gourmetgram.database.engines import create_worker_engine
    from gourmetgram.drift.comparison import compare_features
    from gourmetgram.drift.reference import model_in_use
    from gourmetgram.drift.served import TimeWindow
    from gourmetgram.lakehouse.catalog import open_catalog
    from gourmetgram.settings import IcebergSettings, PostgresSettings
    from gourmetgram_tools.cli.model_store import publisher_of

    window = TimeWindow.last_hours(hours, datetime.now(UTC))
    model = model_in_use(publisher_of(variables))
    engine = create_worker_engine(PostgresSettings.load(variables), "gourmetgram-drift")
    try:
        with open_catalog(IcebergSettings.load(variables)) as catalog:
            return compare_features(engine, catalog, model, window)
    finally:
        engine.dispose()


def _logged(variables: dict[str, str], report: "DriftReport") -> str:
    """Store the report in MLflow; returns the address of the run."""
    from model_training.lifecycle.drift_log import log_drift
    from model_training.lifecycle.tracking import TrackingSettings, connect, run_page, silence_client

    silence_client()
    connect(TrackingSettings.load(variables))
    with errors.status("Storing in MLflow"):
        logged = log_drift(report)
    return run_page(logged.run_id, logged.experiment_id)
