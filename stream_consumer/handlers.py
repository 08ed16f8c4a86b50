"""What a batch of records does: bad messages are set aside, the rest goes to Redis in one call, people are told."""

import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from gourmetgram.events import Record
from stream_consumer import metrics
from stream_consumer.batch import Batch, Span, read_batch
from stream_consumer.dead_letters import DeadLetters
from stream_consumer.milestones import MilestoneWriter
from stream_consumer.partitions import Progress, TopicPartition, field_of
from stream_consumer.report import Report
from stream_consumer.requests import Requests
from stream_consumer.store import Applied, Applying, WindowCounts, WindowStore

log = logging.getLogger(__name__)


POPULAR: Final = "popular"
"""The one alert that asks for no request."""


class Outcome(NamedTuple):
    """What came, and what it changed."""

    batch: Batch
    applied: Applied


class Work(NamedTuple):
    """A batch that Redis works on."""

    batch: Batch
    applying: Applying
    started: float


class BatchHandler:
    """Applies batches.

    Args:
        store: takes the events.
        progress: what has been applied; moves on with each batch.
        dead_letters: takes the bad messages.
        requests: takes the requests that a batch raises.
        milestones: woken when milestones wait.
        report: tells people.
    """

    def __init__(
        self,
        store: WindowStore,
        progress: Progress,
        dead_letters: DeadLetters,
        requests: Requests,
        milestones: MilestoneWriter,
        report: Report,
    ) -> None:
        self._store = store
        self._progress = progress
        self._dead_letters = dead_letters
        self._requests = requests
        self._milestones = milestones
        self._report = report

    def read(self, records: Sequence[Record]) -> Batch | None:
        """Parse a batch and set its bad messages aside. Redis may still be at work on the one before.

        Returns:
            The batch, or None when its offsets do not follow what was read: reading must begin anew.

        Raises:
            TransientError: the broker did not confirm the dead letters.
        """
        batch = read_batch(records)
        if not self._follows(batch.spans):
            return None
        if batch.rejected:
            self._dead_letters.set_aside(batch.rejected)
        return batch

    def begin(self, batch: Batch) -> Work:
        """Send a batch to Redis: events, offsets, alerts and requests change together, or not at all.

        Raises:
            RedisUnavailableError: Redis is away.
        """
        read = self._progress.read
        positions = {partition: (read[partition], span.end) for partition, span in batch.spans.items()}
        work = Work(batch, self._store.begin(batch.accepted, positions), time.perf_counter())
        read.update((partition, span.end) for partition, span in batch.spans.items())
        return work

    def finish(self, work: Work) -> Outcome | None:
        """Wait for Redis, and let this process's memory follow.

        Returns:
            What the batch did, or None when Redis stands elsewhere than this process thinks: nothing has changed, and
            reading must begin anew.

        Raises:
            RedisUnavailableError: no answer; the batch is applied or not, as Redis will tell.
        """
        applied = self._store.finish(work.applying)
        if applied is None:
            return None
        for partition, span in work.batch.spans.items():
            self._progress.applied[partition] = span.end
            self._progress.broker_time_us[partition] = span.broker_time_us
        self._requests.add(alert for alert in applied.alerts if alert.trigger != POPULAR)
        if applied.milestones:
            self._milestones.wake()
        metrics.BATCH_SECONDS.observe(time.perf_counter() - work.started)
        return Outcome(work.batch, applied)

    def abandon(self, work: Work) -> None:
        """Forget about a batch: whether it was applied, Redis will tell."""
        self._store.abandon(work.applying)

    def tell(self, outcome: Outcome) -> None:
        """Count and log what a batch did.

        Raises:
            RedisUnavailableError: the counts for a progress line were not to be had.
        """
        batch, applied = outcome
        self._count(batch, applied)
        for alert in applied.alerts:
            self._report.alert(alert)
        for milestone in applied.milestones:
            self._report.milestone(milestone)

        def counts_of(places: Sequence[int]) -> list[WindowCounts]:
            return self._store.window_counts([applied.groups[place] for place in places])

        uploads = [item.event.image_id for item in batch.accepted if item.event.kind == "upload"]
        self._report.progress(applied, uploads, counts_of)

    def _follows(self, spans: dict[TopicPartition, Span]) -> bool:
        for partition, span in spans.items():
            expected = self._progress.read.get(partition)
            if expected is None or span.start < expected:
                return False
            if span.start > expected:
                log.warning(
                    "%s: offsets %d to %d do not come: deleted before they were applied, or no messages",
                    field_of(partition),
                    expected,
                    span.start - 1,
                )
        return True

    def _count(self, batch: Batch, applied: Applied) -> None:
        self._report.count_records(batch.records)
        metrics.BATCH_RECORDS.observe(batch.records.total())
        for kind, number in batch.events.items():
            metrics.EVENTS.labels(kind).inc(number)
        for kind, number in batch.ineligible.items():
            metrics.INELIGIBLE.labels(kind).inc(number)
        metrics.REPEATED.inc(batch.repeated + applied.repeated)
        self._dead_letters.applied(batch.rejected)
        for alert in applied.alerts:
            metrics.ALERTS.labels(alert.trigger).inc()
        for image_id, error in applied.failures:
            metrics.FAILURES.labels("keys").inc()
            log.error("Keys of image %s could not be changed: %s", image_id, error)
