"""Entry point of `python -m tests.lab`: walk the student path of the lab with the real compose file."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from gourmetgram.errors import PlatformError
from gourmetgram_tools.cli.console import ConsoleProgress, console, errors
from tests.lab.places import OUTPUT
from tests.lab.run import OWN_TRAFFIC, QUICK, STAGES, USUAL, Request, rehearse
from tests.lab.steps import Result

_MARKS = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: "[yellow]not tried[/]"}


def main() -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args()
    chosen = [stage for stage in STAGES if stage.key in _keys(options)]
    # `timeout` and CI end a program with SIGTERM: clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        request = Request(chosen, options.quick, options.report, options.rounds)
        passed = rehearse(request, ConsoleProgress(), _print)
    except PlatformError as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        errors.print("Interrupted; the containers are gone, images and downloads stay for the next run.", style="red")
        return 130
    console.print(f"Report: {options.report}", highlight=False)
    return 0 if passed else 1


def _parser() -> argparse.ArgumentParser:
    keys = [stage.key for stage in STAGES]
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="stages 2 to 4 only, without Airflow and Jupyter")
    parser.add_argument(
        "--own-traffic", action="store_true", help="stages 2 to 6 without a backfill (about half an hour)"
    )
    parser.add_argument("--browser", action="store_true", help="screenshots of the pages (installs Chromium)")
    parser.add_argument("--operations", action="store_true", help="then the operation tests too (about 20 minutes)")
    parser.add_argument("--rounds", type=int, default=10, help="starts of everything at once, of --operations (10)")
    parser.add_argument("--stages", nargs="+", choices=keys, metavar="STAGE", help=f"some of {', '.join(keys)}")
    parser.add_argument("--report", type=Path, default=OUTPUT / "report.md", help="path of the report (%(default)s)")
    return parser


def _keys(options: argparse.Namespace) -> Sequence[str]:
    usual = OWN_TRAFFIC if options.own_traffic else QUICK if options.quick else USUAL
    chosen = options.stages or usual
    # MLflow's pages show the models of the stage `lifecycle`.
    browser = ("browser", *(["browser-mlflow"] if "lifecycle" in chosen else [])) if options.browser else ()
    operations = ("operations", "rounds") if options.operations else ()
    return (*chosen, *browser, *operations)


def _print(result: Result) -> None:
    console.print(f"{_MARKS[result.passed]} {result.stage.split()[0]} ", end="")
    console.print(f"{result.step.command} ({result.seconds:.1f} s)", markup=False, highlight=False, soft_wrap=True)
    if result.passed is False:
        text = f"    expected: {result.step.expected}\n    seen: {result.seen}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
