"""The demonstration, step by step."""

import time
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.rule import Rule

from gourmetgram.cli.audit import traffic_paused
from gourmetgram.cli.audit_view import audited, print_audit
from gourmetgram.cli.burst_view import show_burst
from gourmetgram.cli.console import ConsoleProgress
from gourmetgram.cli.output import page
from gourmetgram.cli.stack import links
from gourmetgram.cli.target import platform_of
from gourmetgram.errors import TransientError
from gourmetgram.inspection.burst import Plan, generator
from gourmetgram.inspection.counts import Counts, read_counts
from gourmetgram.inspection.platform import Platform
from gourmetgram.local.services import inherited_environment
from gourmetgram.local.stack import Stack
from gourmetgram.settings import Settings


class DemoSettings(Settings):
    """How lively the demonstration is."""

    gourmetgram_demo_arrival_rate: float = 72_000.0
    """Events an hour of the traffic that the demonstration adds; 72,000 = 20 a second."""


_LOOK_EVERY_S: Final = 1.0


def run_demo(context: typer.Context, seconds: float) -> None:
    """Run all steps, and print how long they took; exits with 1 when the audit finds differences."""
    started = time.monotonic()
    console = page()
    stack = Stack(context.obj)
    _heading(console, 1, "The servers and services")
    stack.up(progress=ConsoleProgress())
    platform = platform_of(stack)
    _heading(console, 2, f"{seconds:g} seconds of traffic: users upload, view, comment and flag")
    _traffic(console, stack, platform, seconds)
    _heading(console, 3, "One image goes viral, and its way through every store")
    show_burst(console, platform, stack.environment("data_generator"), Plan())
    _heading(console, 4, "Audit: do all stores agree, to the event?")
    with traffic_paused(stack):
        result = audited(platform)
    print_audit(console, result)
    _heading(console, 5, "Everything stays up: look around")
    links(context, "localhost")
    console.print("\nNext: gourmetgram status · burst · trace IMAGE_ID · audit --pause-traffic · down")
    console.print(f"[bold]Done in {time.monotonic() - started:.0f} s.[/bold]")
    if result.differences:
        raise typer.Exit(1)


def _heading(console: Console, number: int, text: str) -> None:
    console.print()
    console.print(Rule(f"[bold]{number}. {text}[/bold]", align="left"))


def _traffic(console: Console, stack: Stack, platform: Platform, seconds: float) -> None:
    """Run a second generator at the demonstration's rate, and show what it causes."""
    variables = {
        **inherited_environment(),
        **stack.environment("data_generator"),
        "GENERATOR_ARRIVAL_RATE": str(DemoSettings.load().gourmetgram_demo_arrival_rate),
        "GENERATOR_MODE": "poisson",
        "HEALTH_PORT": "0",
    }
    before = read_counts(platform)
    columns = (BarColumn(), TextColumn("{task.description}"))
    with generator(variables, quiet=True) as process, Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if process.poll() is not None:
                raise TransientError(f"The data generator stopped with code {process.returncode}: is the API healthy?")
            progress.update(task, completed=seconds - left, description=_growth(before, read_counts(platform)))
            time.sleep(min(left, _LOOK_EVERY_S))
    console.print(_growth(before, read_counts(platform)))


def _growth(before: Counts, now: Counts) -> str:
    return ", ".join(
        f"{after - then:,} {name}" for (name, then), after in zip(before.items(), now.values(), strict=True)
    )
