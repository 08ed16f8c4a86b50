"""Runs the aggregation's tasks in a process that a test may kill: `python -m tests.support.aggregate_once`.

Writes each finished step to standard output, e.g. `events: committed`, so that the test knows how far it is.
"""

import sys
from collections.abc import Callable

from gourmetgram.lakehouse.aggregation import AggregationResult, Sources, aggregate_events
from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.settings import OfflineSettings
from tests.support.steps import Step, watched_steps


def teller(task: str) -> Step:
    """A hook that writes at once which step of a task is done."""

    def tell(step: str) -> None:
        sys.stdout.write(f"{task}: {step}\n")
        sys.stdout.flush()

    return tell


def aggregate(
    sources: Sources,
    tell: Callable[[str], Step] = lambda _task: lambda _step: None,
    offline_settings: OfflineSettings | None = None,
) -> AggregationResult:
    """All tasks of redpanda_event_aggregation that write tables.

    Args:
        sources: servers of the aggregation.
        tell: gives the hook for a task's steps.
        offline_settings: names the engine; None = DuckDB.
    """
    with watched_steps(tell("events")):
        result = aggregate_events(sources, offline_settings=offline_settings)
    for kind in WINDOWED_KINDS:
        with watched_steps(tell(kind)):
            write_windows(sources.iceberg, kind, offline_settings)
    return result


def main() -> None:
    """Run the tasks on the platform of the environment."""
    aggregate(Sources.load(), teller, OfflineSettings.load())


if __name__ == "__main__":
    main()
