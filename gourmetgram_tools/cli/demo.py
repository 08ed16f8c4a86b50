"""`gourmetgram demo`: the whole platform at work, once; it keeps running for a look around."""

from pathlib import Path
from typing import Annotated

import typer

from gourmetgram_tools.cli.target import Target, TargetOption


def demo(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of traffic before the burst.")] = 60.0,
    real_time_only: Annotated[
        bool, typer.Option("--real-time-only", help="Stop after the first decisions: no Airflow, no model.")
    ] = False,
    html: Annotated[Path, typer.Option("--html", help="Path of the comparison.")] = Path("comparison.html"),
    target: TargetOption = Target.LOCAL,
) -> None:
    """Show traffic, a viral image and its decisions; then a backfill, training data, a model, and an audit."""
    # Imported here: the clients of the stores take a second to import, which `status` does not need.
    from gourmetgram_tools.cli.demo_run import Demo, run_demo

    run_demo(Demo(context, seconds, real_time_only, html, target))
