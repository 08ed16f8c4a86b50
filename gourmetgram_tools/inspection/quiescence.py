"""Wait until no event is in flight."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from gourmetgram.errors import PlatformError, TransientError
from gourmetgram.kafka.offsets import committed_offsets
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, held_ranges
from gourmetgram_tools.inspection.kafka_reading import reader
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.rows import outbox_size

LOOK_EVERY_S: Final = 1.0
DEFAULT_DEADLINE_S: Final = 60.0


class StillMovingError(PlatformError):
    """The platform did not come to rest in time; the text names the moving part and a remedy."""


@dataclass(frozen=True)
class Look:
    """Positions of the platform at one moment.

    Attributes:
        ends: range of offsets in each partition of each topic.
        consumer_lag: event records that the stream consumer has not committed.
        scorer_lag: requests that the risk scoring service has not committed.
        outbox: pending events in the outbox.
    """

    ends: Mapping[Partition, OffsetRange]
    consumer_lag: int
    scorer_lag: int
    outbox: int

    @property
    def at_rest(self) -> bool:
        """True when no event is in flight."""
        return not (self.consumer_lag or self.scorer_lag or self.outbox)

    def describe(self) -> str:
        """Text with the three numbers."""
        return f"{self.outbox} in the outbox, consumer {self.consumer_lag} behind, scorer {self.scorer_lag} behind"


def look(platform: Platform, engine: Engine) -> Look:
    """Probe the outbox first, then the groups, so that an event that moves meanwhile is found.

    Raises:
        TransientError: PostgreSQL or the broker is away.
    """
    kafka = platform.kafka
    outbox = outbox_size(engine)
    with reader(kafka, platform.consumer_group) as consumer:
        ends = held_ranges(consumer, kafka.all_topics)
        events = {partition: span for partition, span in ends.items() if partition.topic in kafka.event_topics}
        consumer_lag = lag(events, committed_offsets(consumer, events))
    with reader(kafka, platform.scorer_group) as scorer:
        # Read again: the consumer's lag above may have become zero by a new request.
        requests = held_ranges(scorer, [kafka.moderation_topic])
        scorer_lag = lag(requests, committed_offsets(scorer, requests))
    return Look({**ends, **requests}, consumer_lag, scorer_lag, outbox)


def lag(within: Mapping[Partition, OffsetRange], done: Mapping[Partition, int | None]) -> int:
    """Number of records that a group has not committed."""
    behind = 0
    for place, span in within.items():
        reached = done.get(place)
        behind += max(0, span.end - max(span.start, span.start if reached is None else reached))
    return behind


def wait_for_rest(
    looks: Callable[[], Look],
    deadline: float,
    report: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Look:
    """Wait until two probes, a second apart, find no event in flight and no new record.

    Args:
        looks: probes the platform.
        deadline: latest `time.monotonic()` value.
        report: receives the events in flight, as text.
        sleep: pauses between two probes.

    Raises:
        StillMovingError: the deadline passed.
        TransientError: a store is away until the deadline.
    """
    previous: Look | None = None
    while True:
        try:
            current = looks()
        except TransientError as error:
            # A server that was just restarted needs a moment.
            if time.monotonic() > deadline:
                raise
            report(str(error))
            sleep(LOOK_EVERY_S)
            continue
        if current.at_rest and previous is not None and current == previous:
            return current
        if time.monotonic() > deadline:
            raise StillMovingError(advice(previous, current))
        report(current.describe())
        previous = current
        sleep(LOOK_EVERY_S)


def advice(previous: Look | None, current: Look) -> str:
    """Name the moving or stuck part, with a remedy."""
    if previous is not None and previous.ends != current.ends:
        return (
            f"Writes go on ({_grown(previous.ends, current.ends)}), so the stores cannot be compared exactly: "
            "stop the traffic with `gourmetgram stop data_generator`, or give `--pause-traffic`."
        )
    return (
        f"The platform did not come to rest ({current.describe()}): "
        "look at `gourmetgram status` and `gourmetgram logs`, or give a longer `--deadline`."
    )


def _grown(before: Mapping[Partition, OffsetRange], after: Mapping[Partition, OffsetRange]) -> str:
    topics: dict[str, int] = {}
    for place, span in after.items():
        grown = span.end - before.get(place, OffsetRange(0, 0)).end
        if grown:
            topics[place[0]] = topics.get(place[0], 0) + grown
    return ", ".join(f"{number} new in {topic}" for topic, number in sorted(topics.items()))
