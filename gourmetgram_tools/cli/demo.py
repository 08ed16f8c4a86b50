"""`gourmetgram demo`: the whole platform at work, once, and left running to browse."""

from pathlib import Path
from typing import Annotated

import typer

from gourmetgram_tools.cli.target import Target, TargetOption


def demo(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=1, help="How long traffic runs before the burst.")] = 60.0,
    real_time_only: Annotated[
        bool, typer.Option("--real-time-only", help="Stop after the first decisions: no Airflow, no model.")
    ] = False,
    html: Annotated[Path, typer.Option("--html", help="Where the comparison is written.")] = Path("comparison.html"),
    target: TargetOption = Target.LOCAL,
) -> None:
    """Traffic, a viral image and its decisions; then the past, training data, a model, and its decisions; an audit."""
    # Imported when it runs: database, object store and Redis clients take a second that `status` need not wait for.
    from gourmetgram_tools.cli.demo_run import Demo, run_demo

    run_demo(Demo(context, seconds, real_time_only, html, target))
