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
from stream_consumer.store import Applied, WindowCounts, WindowStore

log = logging.getLogger(__name__)


POPULAR: Final = "popular"
"""The one alert that asks for no request."""


class Outcome(NamedTuple):
    """What came, and what it changed."""

    batch: Batch
    applied: Applied


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

    def handle(self, records: Sequence[Record]) -> Outcome | None:
        """Apply a batch, all of it or nothing.

        Returns:
            What it did, or None when Redis or the broker stands elsewhere than this process thinks: nothing has
            changed, and reading must begin anew.

        Raises:
            TransientError: Redis or the broker did not answer; the batch is applied or not, as Redis will tell.
        """
        started = time.perf_counter()
        batch = read_batch(records)
        if not self._follows(batch.spans):
            return None
        # Step 1: bad messages are safe before their offsets count as applied.
        if batch.rejected:
            self._dead_letters.set_aside(batch.rejected)
        # Step 2: events, offsets, alerts and requests change together.
        positions = {
            partition: (self._progress.applied[partition], span.end) for partition, span in batch.spans.items()
        }
        applied = self._store.apply(batch.accepted, positions)
        if applied is None:
            log.warning("Redis stands at other offsets than this process: beginning anew from there")
            return None
        # Step 3: memory follows. The commit comes later, when the requests are confirmed.
        for partition, span in batch.spans.items():
            self._progress.applied[partition] = span.end
            self._progress.broker_time_us[partition] = span.broker_time_us
        self._requests.add(alert for alert in applied.alerts if alert.trigger != POPULAR)
        if applied.milestones:
            self._milestones.wake()
        metrics.BATCH_SECONDS.observe(time.perf_counter() - started)
        return Outcome(batch, applied)

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
            expected = self._progress.applied.get(partition)
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
