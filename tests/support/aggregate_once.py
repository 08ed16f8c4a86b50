"""Runs the aggregation's tasks in a process that a test may kill: `python -m tests.support.aggregate_once`.

Writes each finished step to standard output, e.g. `events: committed`, so that the test knows how far it is.
"""

import sys

from gourmetgram.lakehouse.aggregation import Sources, Step, aggregate_events
from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows


def teller(task: str) -> Step:
    """A hook that says at once which step of a task is done."""

    def tell(step: str) -> None:
        sys.stdout.write(f"{task}: {step}\n")
        sys.stdout.flush()

    return tell


def main() -> None:
    """All tasks that write tables."""
    sources = Sources.load()
    aggregate_events(sources, on_step=teller("events"))
    for kind in WINDOWED_KINDS:
        write_windows(sources.iceberg, kind, teller(kind))


if __name__ == "__main__":
    main()
