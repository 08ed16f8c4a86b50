"""`gourmetgram burst`: a viral burst on one image, with the decisions that follow."""

from typing import Annotated

import typer

from gourmetgram_tools.cli.running import API, running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption, selected_platform
from gourmetgram_tools.local.blueprint import SERVERS


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
    # Imported here: the clients of the stores take a second to import, which `status` does not need.
    from gourmetgram_tools.cli.burst_view import show_burst
    from gourmetgram_tools.cli.output import page
    from gourmetgram_tools.inspection.burst import BurstPlan, expected_triggers

    platform = selected_platform(context, stack, target)
    plan = BurstPlan(views, comments, flags, image)
    expected_triggers(plan, platform.rules)
    variables = running_environment(context, stack, target, (*SERVERS, API))
    show_burst(page(), platform, variables, plan, deadline)
