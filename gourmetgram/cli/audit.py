"""`gourmetgram audit`: do all stores agree, to the event?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gourmetgram.cli.console import errors
from gourmetgram.cli.output import page, print_json
from gourmetgram.cli.target import StackOption, Target, TargetOption, local_stack, selected_platform
from gourmetgram.inspection.audit import DEFAULT_DEADLINE_S, AuditResult
from gourmetgram.inspection.audit import audit as run_audit
from gourmetgram.inspection.platform import Platform
from gourmetgram.local.stack import Stack


def audit(
    context: typer.Context,
    deadline: Annotated[
        float, typer.Option(help="Seconds to wait until nothing is under way any more.")
    ] = DEFAULT_DEADLINE_S,
    pause_traffic: Annotated[
        bool, typer.Option("--pause-traffic", help="Stop the stack's data generator meanwhile.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Rows that API v1 wrote without events are differences too.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Differences shown of each check.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    stack: StackOption = None,
    target: TargetOption = Target.LOCAL,
) -> None:
    """Compare rows, events, windows, requests, decisions and objects; exit 1 when they differ."""
    platform = selected_platform(context, stack, target)
    paused = local_stack(context, stack, target) if pause_traffic else None
    with traffic_paused(paused):
        result = audited(platform, deadline, strict)
    if as_json:
        print_json(result.to_json())
    else:
        print_audit(page(), result, examples)
    if result.differences:
        raise typer.Exit(1)


def audited(platform: Platform, deadline_s: float = DEFAULT_DEADLINE_S, strict: bool = False) -> AuditResult:
    """Run the audit; what it waits for is shown on standard error."""
    with errors.status("Audit") as status:
        report: Callable[[str], None] = lambda text: status.update(f"Audit: {text}")  # noqa: E731
        return run_audit(platform, deadline_s=deadline_s, strict=strict, report=report)


@contextmanager
def traffic_paused(stack: Stack | None) -> Iterator[None]:
    """Stop a stack's data generator for a while; one that does not run stays stopped."""
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


def print_audit(console: Console, result: AuditResult, examples: int = 5) -> None:
    """Print the checks, the differences with examples, and the notes."""
    table = Table(title=f"Audit of {result.events:,} events", title_justify="left", box=SIMPLE_HEAD, expand=True)
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("what must hold", ratio=1)
    table.add_column("expected", justify="right")
    table.add_column("actual", justify="right")
    table.add_column("wrong", justify="right")
    for check in result.checks:
        mark, style = ("✓", "green") if check.ok else ("✗", "bold red")
        number = len(check.differences)
        table.add_row(Text(mark, style=style), check.name, Text(check.proves), f"{check.expected:,}",
                      f"{check.actual:,}", Text(str(number), style=style))  # fmt: skip
    console.print(table)
    for check in result.checks:
        _print_differences(console, check.name, check.differences, examples)
    for note in result.notes:
        shown = f", e.g. {note.examples[0]}" if note.examples else ""
        console.print(Text(f"Note: {note.count:,} {note.name}{shown}"), style="dim")
    verdict = "The stores agree." if not result.differences else f"{result.differences} differences."
    console.print(
        Text.assemble(
            (verdict, "bold green" if not result.differences else "bold red"),
            f"  (waited {result.waited_s:.1f} s, read and compared in {result.read_s:.1f} s)",
        )
    )


def _print_differences(console: Console, name: str, differences: tuple[str, ...], examples: int) -> None:
    for difference in differences[:examples]:
        console.print(Text(f"{name}: {difference}", style="red"), soft_wrap=True)
    if len(differences) > examples > 0:
        console.print(Text(f"{name}: … and {len(differences) - examples} more (`--examples N`, `--json`)"), style="dim")
