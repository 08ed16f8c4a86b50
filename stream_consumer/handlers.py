"""What a batch of records does: bad messages are set aside, the rest goes to Redis in one call, people are told."""

import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gourmetgram.events import Record
from stream_consumer import metrics
from stream_consumer.batch import Batch, Span, read_batch
from stream_consumer.dead_letters import DeadLetters
from stream_consumer.milestones import MilestoneWriter
from stream_consumer.partitions import Progress, TopicPartition, field_of
from stream_consumer.report import Report
from stream_consumer.requests import Requests
from stream_consumer.source import EventSource
from stream_consumer.store import Applied, Applying, Prepared, WindowCounts, WindowStore

log = logging.getLogger(__name__)


POPULAR: Final = "popular"
"""The one alert that asks for no request."""


_TRIM_AT_ONCE: Final = 500


class Outcome(NamedTuple):
    """What came, and what it changed."""

    batch: Batch
    applied: Applied


class Ready(NamedTuple):
    """A batch that can be sent to Redis."""

    batch: Batch
    prepared: Prepared


class Work(NamedTuple):
    """A batch that Redis works on."""

    batch: Batch
    applying: Applying
    started: float


class BatchHandler:
    """Applies batches.

    Args:
        store: takes the events.
        source: tells where partitions end.
        progress: what has been applied; moves on with each batch.
        dead_letters: takes the bad messages.
        requests: takes the requests that a batch raises.
        milestones: woken when milestones wait.
        report: tells people.
    """

    def __init__(
        self,
        store: WindowStore,
        source: EventSource,
        progress: Progress,
        dead_letters: DeadLetters,
        requests: Requests,
        milestones: MilestoneWriter,
        report: Report,
    ) -> None:
        self._store = store
        self._source = source
        # Images whose windows keep more than an hour, because events that wait in the broker may ask for it.
        self._held: dict[int, set[str]] = {}
        self._progress = progress
        self._dead_letters = dead_letters
        self._requests = requests
        self._milestones = milestones
        self._report = report

    def prepare(self, records: Sequence[Record]) -> Ready | None:
        """Parse a batch, set its bad messages aside, and form the call. Redis may still be at work on the one before.

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
        read = self._progress.read
        positions = {partition: (read[partition], span.end) for partition, span in batch.spans.items()}
        for partition, span in batch.spans.items():
            read[partition] = span.end
            self._progress.read_time_us[partition] = span.broker_time_us
        floors = self._floors({number for _, number in batch.spans})
        for item in batch.accepted:
            number = item.partition[1]
            if floors.get(number, item.event.time_us) < item.event.time_us:
                self._held.setdefault(number, set()).add(item.event.image_id)
        return Ready(batch, self._store.prepare(batch.accepted, positions, floors))

    def begin(self, ready: Ready) -> Work:
        """Send a batch to Redis: events, offsets, alerts and requests change together, or not at all.

        Raises:
            RedisUnavailableError: Redis is away.
        """
        return Work(ready.batch, self._store.begin(ready.prepared), time.perf_counter())

    def _floors(self, numbers: Iterable[int]) -> dict[int, int]:
        found = {number: self._progress.floor_us(number, self._source.known_end) for number in numbers}
        return {number: floor_us for number, floor_us in found.items() if floor_us is not None}

    def forget(self) -> None:
        """Forget what was held: the partitions are gone."""
        self._held.clear()

    def trim_held(self) -> None:
        """Trim windows that were kept longer for events which have been read by now.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        if not self._held:
            return
        for number in set(self._held) - set(self._floors(self._held)):
            images = self._held.pop(number)
            now = list(itertools.islice(images, _TRIM_AT_ONCE))
            self._store.trim(now)
            images.difference_update(now)
            if images:
                self._held[number] = images

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
