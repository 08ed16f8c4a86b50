"""Write moderation.large_training_data: random rows, more than a small machine's memory holds, in files of about 30 MB.

An interrupted run is continued by the same command. A complete table of the same size stays as it is.
"""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings
from gourmetgram.training.large_rows import SEED, LargeTablePlan
from gourmetgram.training.large_table import (
    LARGE_TABLE,
    LargeTableSettings,
    WrittenRows,
    complete_large_table,
    replace_large_table,
)

log = logging.getLogger("generate_large_dataset")
_INTERRUPTED = 130


def main() -> None:
    """Write the table; it replaces the old one when it is complete."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(message)s")
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    options = _options()
    interrupts = _Interrupts()
    try:
        rows = options.rows if options.rows is not None else LargeTableSettings.load().large_rows
        _write(LargeTablePlan(rows, options.seed), interrupts, again=options.again)
    except PlatformError as error:
        log.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("Interrupted: %s is as it was. The same command continues with the complete files.", LARGE_TABLE)
        sys.exit(_INTERRUPTED)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    text = "number of rows, as 10_000_000 (default: the variable LARGE_ROWS, else 6,000,000)"
    parser.add_argument("rows", nargs="?", type=_positive, metavar="ROWS", help=text)
    parser.add_argument("--seed", type=int, default=SEED, help="the same rows for the same seed (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="replace a complete table, too")
    return parser.parse_args()


def _positive(text: str) -> int:
    try:
        rows = int(text.replace(",", ""))
    except ValueError:
        rows = 0
    if rows < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows: give a whole number from 1")
    return rows


class _Interrupts:
    """Ctrl-C, and `docker stop`, which end the run after the rows in hand; a second one ends it at once.

    PyArrow's writer is no place for a `KeyboardInterrupt`: one that is half closed prints a traceback at its end.
    """

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)

    def raise_if_asked(self) -> None:
        """Raise `KeyboardInterrupt` if the end was asked for."""
        if self._asked:
            raise KeyboardInterrupt


def _write(plan: LargeTablePlan, interrupts: _Interrupts, *, again: bool) -> None:
    with open_catalog(IcebergSettings.load()) as catalog:
        if not again and complete_large_table(catalog, plan) is not None:
            log.info("%s has these %s rows already; --again replaces it", LARGE_TABLE, f"{plan.rows:,}")
            return
        log.info("Writing %s rows into %s, in %d files", f"{plan.rows:,}", LARGE_TABLE, plan.files)
        started = time.monotonic()
        with _display(plan) as report:

            def reported(written: int) -> None:
                report(written)
                interrupts.raise_if_asked()

            replace_large_table(catalog, plan, reported)
        log.info("%s has %s rows, after %.0f s", LARGE_TABLE, f"{plan.rows:,}", time.monotonic() - started)


@contextmanager
def _display(plan: LargeTablePlan) -> Iterator[WrittenRows]:
    """A progress bar on a terminal, else a line for each file."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda written: _line(plan, written)
        return
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("rows", total=plan.rows)
        yield lambda written: progress.update(task, completed=written)


def _line(plan: LargeTablePlan, written: int) -> None:
    if written % plan.file_rows == 0 or written == plan.rows:
        log.info("%s of %s rows written", f"{written:,}", f"{plan.rows:,}")


if __name__ == "__main__":
    main()
