"""Steps of the demonstration: traffic, a burst and its decisions, the batch half, the audit."""

import time
from pathlib import Path
from typing import Final, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.rule import Rule

from gourmetgram.errors import TransientError
from gourmetgram.settings import Settings
from gourmetgram_tools.cli.audit_view import audited, print_audit
from gourmetgram_tools.cli.burst_view import show_burst
from gourmetgram_tools.cli.demo_batch import BatchDemo
from gourmetgram_tools.cli.demo_site import Site, site_of
from gourmetgram_tools.cli.output import page
from gourmetgram_tools.cli.stack import links
from gourmetgram_tools.cli.target import Target, environment, selected_platform
from gourmetgram_tools.inspection.burst import BurstPlan, generator
from gourmetgram_tools.inspection.counts import PlatformCounts, read_counts
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.local.services import inherited_environment


class DemoSettings(Settings):
    """Settings of the demonstration's traffic."""

    gourmetgram_demo_arrival_rate: float = 72_000.0
    """Events an hour of the traffic that the demonstration adds; 72,000 = 20 a second."""


class Demo(NamedTuple):
    """Options of a demonstration.

    Attributes:
        context: context of the command; its object is the stack's name.
        seconds: duration of the traffic.
        real_time_only: stop after the first decisions.
        html: path of the comparison.
        target: a local stack, or the Compose lab.
    """

    context: typer.Context
    seconds: float
    real_time_only: bool
    html: Path
    target: Target


_LOOK_EVERY_S: Final = 1.0


class Headings:
    """Numbers the steps."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0

    def __call__(self, text: str) -> None:
        """Begin a step."""
        self._number += 1
        self._console.print()
        self._console.print(Rule(f"[bold]{self._number}. {text}[/bold]", align="left"))


def run_demo(demo: Demo) -> None:
    """Run all steps, and print their duration; exits with 1 when stores or features differ."""
    started = time.monotonic()
    console = page()
    heading = Headings(console)
    site = site_of(demo.context, demo.target)
    heading("The servers and services")
    site.up(airflow=not demo.real_time_only)
    platform = selected_platform(demo.context, None, demo.target)
    variables = environment(demo.context, None, demo.target)
    heading(f"{demo.seconds:g} seconds of traffic: users upload, view, comment and flag")
    _traffic(console, variables, platform, demo.seconds)
    heading("One image goes viral: its decisions by the rules, and its way through every store")
    image_id = show_burst(console, platform, variables, BurstPlan())
    with site.traffic_paused():
        batch = BatchDemo(console, heading, site, platform, variables)
        skewed = 0 if demo.real_time_only else batch.run(image_id, demo.html)
        heading("Audit: do all stores agree, to the event?")
        result = audited(platform)
    print_audit(console, result)
    _end(console, heading, demo, site, image_id, time.monotonic() - started)
    if result.differences or skewed:
        raise typer.Exit(1)


def _end(console: Console, heading: Headings, demo: Demo, site: Site, image_id: str, seconds: float) -> None:
    heading("Everything stays up: its pages")
    links(demo.context, "localhost", None, demo.target)
    if not demo.real_time_only:
        console.print(f"\nRules and model side by side: {demo.html.resolve()}", highlight=False, soft_wrap=True)
        console.print(f"The scorer now decides by the model ({site.mode_is_kept_in}).", soft_wrap=True)
    console.print(f"\nNext: {site.trace_command.format(image_id=image_id)}", soft_wrap=True)
    if demo.target is Target.LOCAL:
        console.print("      gourmetgram status · burst · compare · skew · audit --pause-traffic · down")
    console.print(f"[bold]Done in {seconds:.0f} s.[/bold]")


def _traffic(console: Console, site_variables: dict[str, str], platform: Platform, seconds: float) -> None:
    """Run a second generator at the demonstration's rate, and show the growing counts."""
    variables = {
        **inherited_environment(),
        **site_variables,
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


def _growth(before: PlatformCounts, now: PlatformCounts) -> str:
    return ", ".join(
        f"{after - then:,} {name}" for (name, then), after in zip(before.items(), now.values(), strict=True)
    )
