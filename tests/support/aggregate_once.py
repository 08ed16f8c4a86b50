"""Runs the aggregation's tasks in a process that a test may kill: `python -m tests.support.aggregate_once`.

Writes each finished step to standard output, e.g. `events: committed`, so that the test knows how far it is.
"""

import sys

from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from tests.support.steps import Step, watched_steps


def teller(task: str) -> Step:
    """A hook that writes at once which step of a task is done."""

    def tell(step: str) -> None:
        sys.stdout.write(f"{task}: {step}\n")
        sys.stdout.flush()

    return tell


def main() -> None:
    """All tasks that write tables."""
    sources = Sources.load()
    with watched_steps(teller("events")):
        aggregate_events(sources)
    for kind in WINDOWED_KINDS:
        with watched_steps(teller(kind)):
            write_windows(sources.iceberg, kind)


if __name__ == "__main__":
    main()
