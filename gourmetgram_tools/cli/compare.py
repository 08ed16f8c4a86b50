"""`gourmetgram compare`: rules and model side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gourmetgram_tools.cli.console import console, errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption

if TYPE_CHECKING:
    from gourmetgram_tools.comparison.report import Comparison

DEFAULT_REPORT = Path("comparison.html")

COMPOSE_TRACE: Final = "gourmetgram trace --target compose {image_id}"
"""Command that traces an image of the Compose lab, with the placeholder `{image_id}`."""


def compare(
    context: typer.Context,
    html: Annotated[Path, typer.Option("--html", help="Path of the report.")] = DEFAULT_REPORT,
    examples: Annotated[int, typer.Option(min=0, help="Number of disagreements shown for each kind.")] = 5,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Compare rules and model on held-out images and on decisions, here and in an HTML report with plots."""
    variables = running_environment(context, stack, target, ("postgres", "minio"))
    # Imported here: scikit-learn, matplotlib and PyIceberg take seconds to import, which `status` does not need.
    from gourmetgram_tools.cli.compare_view import print_comparison
    from gourmetgram_tools.cli.output import page
    from gourmetgram_tools.comparison.report import write_report

    trace = COMPOSE_TRACE if target is Target.COMPOSE else trace_command(stack or context.obj)
    with errors.status("Comparing"):
        comparison = compared(variables, trace)
        write_report(comparison, html)
    print_comparison(page(), comparison, examples)
    console.print(f"Report: {html.resolve()}", highlight=False, soft_wrap=True)


def trace_command(stack_name: str) -> str:
    """Command that traces an image of a local stack, with the placeholder `{image_id}`."""
    option = "" if stack_name == "default" else f"--stack {stack_name} "
    return f"gourmetgram {option}trace {{image_id}}"


def compared(variables: dict[str, str], trace_command: str) -> "Comparison":
    """Compare rules and model on the platform that the variables name.

    Raises:
        TransientError: a store is away.
    """
    from gourmetgram.database.engines import create_worker_engine
    from gourmetgram.errors import PermanentError
    from gourmetgram.lakehouse.catalog import open_catalog
    from gourmetgram.models.repository import MissingObjectError
    from gourmetgram.settings import IcebergSettings, PostgresSettings
    from gourmetgram_tools.cli.model_store import publisher_of
    from gourmetgram_tools.comparison.decisions import compare_decisions
    from gourmetgram_tools.comparison.held_out import compare_held_out
    from gourmetgram_tools.comparison.report import Comparison

    engine = create_worker_engine(PostgresSettings.load(variables), "gourmetgram-compare")
    try:
        decisions = compare_decisions(engine)
    finally:
        engine.dispose()
    try:
        package = publisher_of(variables).read_active()
        with open_catalog(IcebergSettings.load(variables)) as catalog:
            return Comparison(decisions, compare_held_out(catalog, package), "", trace_command)
    except MissingObjectError:
        return Comparison(decisions, None, "No model is published: `gourmetgram train --publish`.", trace_command)
    except PermanentError as error:
        return Comparison(decisions, None, str(error), trace_command)
