"""Documented ways out after a loss: the lake accepts the gaps, and the outbox publishes lost events again."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, text

from gourmetgram.database.outbox import REPLAY
from gourmetgram.errors import PermanentError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.gaps import accept_gap
from gourmetgram.settings import KafkaSettings, process_environment
from gourmetgram_tools.inspection.rows import outbox_size
from gourmetgram_tools.local.stack import Stack
from tests.chaos.nemesis.losses import Losses
from tests.support.waiting import wait_until

AGGREGATION_DEADLINE_S: Final = 300.0
_AGGREGATION: Final = (sys.executable, "-m", "tests.support.aggregate_once")
_PUBLISHED_DEADLINE_S: Final = 300.0
_BEFORE_COPY: Final = timedelta(seconds=5)
_PARTITIONS: Final = 4
_NO_GAP: Final = ("there is no gap to accept", "no run has read it")


@contextmanager
def aggregation(stack: Stack) -> Iterator[subprocess.Popen[str]]:
    """A run of the aggregation in a process of its own; during a fault it may fail."""
    with subprocess.Popen(
        _AGGREGATION,
        env={**process_environment(), **stack.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.stdout is not None and not process.stdout.closed:
                process.communicate(timeout=AGGREGATION_DEADLINE_S)


def failure_of_aggregation(stack: Stack) -> str | None:
    """Run the aggregation: the last lines of its output when it failed, else None."""
    with aggregation(stack) as process:
        output, _ = process.communicate(timeout=AGGREGATION_DEADLINE_S)
    return output[-2_000:] if process.returncode else None


def accept_all_gaps(stack: Stack, losses: Losses) -> list[str]:
    """Accept the gaps that the aggregation refuses, as `gourmetgram lake accept-gap` does, and note them.

    Returns:
        Sentences about what is wrong: a gap without a refusal that names its partition.
    """
    refusal = failure_of_aggregation(stack) or ""
    sources = Sources.load(stack.environment())
    accepted = []
    for partition in event_partitions():
        try:
            gap, _snapshot_id = accept_gap(sources, partition)
        except PermanentError as error:
            if any(words in str(error) for words in _NO_GAP):
                continue
            raise
        losses.note_gap(partition, max(gap.start, gap.end))
        accepted.append(str(partition))
    if accepted and not any(name in refusal for name in accepted):
        return [f"the aggregation refused none of {', '.join(accepted)} by name: {refusal or 'it succeeded'}"]
    return []


def event_partitions() -> list[Partition]:
    """Partitions of the events' topics."""
    return [Partition(topic, number) for topic in KafkaSettings().event_topics for number in range(_PARTITIONS)]


def replay_since(engine: Engine, made_at: datetime) -> None:
    """Publish the events again that were published since a copy, as `gourmetgram outbox replay` does.

    Returns when the relay has published all: a run of the aggregation before would not read them.
    """
    with engine.begin() as connection:
        connection.execute(text(REPLAY), {"since": made_at - _BEFORE_COPY})
    wait_until(lambda: outbox_size(engine) == 0, _PUBLISHED_DEADLINE_S, "the relay")
