"""`gourmetgram audit`: comparison of all stores, exact to the event."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.cli.running import running_environment
from gourmetgram_tools.cli.target import StackOption, Target, TargetOption, local_stack, selected_platform
from gourmetgram_tools.local.stack import Stack


def audit(
    context: typer.Context,
    deadline: Annotated[float, typer.Option(help="Seconds to wait until no event is in flight.")] = 60.0,
    pause_traffic: Annotated[
        bool, typer.Option("--pause-traffic", help="Stop the stack's data generator during the audit.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count rows of API v1, which have no events, as differences.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Number of differences shown for each check.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Compare rows, events, windows, requests, decisions and objects; exit 1 when they differ."""
    # Imported here: the clients of the stores take a second to import, which `status` does not need.
    from gourmetgram_tools.cli.audit_view import audited, print_audit
    from gourmetgram_tools.cli.output import page, print_json

    paused = local_stack(context, stack, target) if pause_traffic else None
    running_environment(context, stack, target)
    platform = selected_platform(context, stack, target)
    with traffic_paused(paused):
        result = audited(platform, deadline, strict)
    if as_json:
        print_json(result.to_json())
    else:
        print_audit(page(), result, examples)
    if result.differences:
        raise typer.Exit(1)


@contextmanager
def traffic_paused(stack: Stack | None) -> Iterator[None]:
    """Stop a stack's data generator during the block; a stopped one stays stopped."""
    name = "data_generator"
    if stack is None or not any(part.name == name and part.pid is not None for part in stack.status()):
        yield
        return
    errors.print(f"Traffic of stack {stack.name} is paused.", style="dim")
    stack.stop(name)
    try:
        yield
    finally:
        stack.start(name, wait=False)
        errors.print(f"Traffic of stack {stack.name} goes on.", style="dim")
