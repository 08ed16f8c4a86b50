"""`gourmetgram burst`: make one image go viral, and show what the platform decides."""

from typing import Annotated

import typer

from gourmetgram.cli.target import StackOption, Target, TargetOption, environment, selected_platform


def burst(
    context: typer.Context,
    views: Annotated[int, typer.Option(min=0)] = 110,
    comments: Annotated[int, typer.Option(min=0)] = 8,
    flags: Annotated[int, typer.Option(min=0)] = 2,
    image: Annotated[str | None, typer.Option(help="An existing image instead of a fresh upload.")] = None,
    deadline: Annotated[float, typer.Option(help="Seconds to wait for the decisions after the last call.")] = 30.0,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Send views, comments and flags to one image, wait for its decisions, and show its trace."""
    # Imported when it runs: database, object store and Redis clients take a second that `status` need not wait for.
    from gourmetgram.cli.burst_view import show_burst
    from gourmetgram.cli.output import page
    from gourmetgram.inspection.burst import Plan

    platform = selected_platform(context, stack, target)
    variables = environment(context, stack, target)
    show_burst(page(), platform, variables, Plan(views, comments, flags, image), deadline)
