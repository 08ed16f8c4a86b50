"""Shared parts of all subcommands: the console, the selected stack, and the display of a longer operation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console

from gourmetgram_tools.local.progress import StepReport
from gourmetgram_tools.local.stack import Stack

console: Final = Console()
errors: Final = Console(stderr=True)

# Seconds below which a step gets no line: a second `up` has a dozen of such steps.
_WORTH_A_LINE_S = 0.1
# Seconds between two details without a terminal (a log of CI), since there may be thousands.
_DETAIL_EVERY_S = 10.0


def selected_stack(context: typer.Context) -> Stack:
    """The stack that `--stack` or GOURMETGRAM_STACK names; it must exist."""
    return Stack.load(context.obj)


class ConsoleProgress:
    """Shows the current step with a spinner, and each finished step as a line with its duration."""

    @contextmanager
    def step(self, title: str) -> Iterator[StepReport]:
        """Show one step; its latest detail follows its title."""
        started = last_detail = time.monotonic()
        with console.status(title) as status:

            def report(detail: str) -> None:
                nonlocal last_detail
                status.update(f"{title}: {detail}")
                if not console.is_terminal and time.monotonic() - last_detail > _DETAIL_EVERY_S:
                    last_detail = time.monotonic()
                    console.print(f"  … {title}: {detail}", markup=False, highlight=False, soft_wrap=True)

            yield report
        duration = time.monotonic() - started
        if duration >= _WORTH_A_LINE_S:
            console.print(f"[green]✓[/green] {title} [dim]({duration:.1f} s)[/dim]", highlight=False)
