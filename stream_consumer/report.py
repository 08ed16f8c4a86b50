"""Reports to people: the lab's log lines, progress, metrics, the banner and the final statistics."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gourmetgram.kafka.dead_letters import RejectedRecord
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.status import PartitionStatus
from gourmetgram.windows import COUNTED_KINDS, UPLOAD_TRIGGER, anchor_minutes
from stream_consumer import metrics
from stream_consumer.batch import EventGroup
from stream_consumer.pending import PendingRequest
from stream_consumer.progress import StreamProgress
from stream_consumer.settings import ConsumerSettings
from stream_consumer.store.batches import AppliedBatch, GroupCounts
from stream_consumer.store.milestones import Milestone
from stream_consumer.unread_age import UnreadAge

log = logging.getLogger(__name__)

_RULE: Final = "=" * 60
_LINES_PER_S: Final = 10
_SUMMARY_EVERY_S: Final = 10.0
_DEAD_LETTERS_SHOWN: Final = 5
_VIEWS_PER_LINE: Final = 10

_ALERT_LINES: Final = {
    "viral": "🔥 VIRAL CONTENT ALERT! Image %s... received %d views in 5 minutes (threshold: %d)",
    "suspicious": "⚠️ SUSPICIOUS ACTIVITY ALERT! Image %s... received %d comments in 1 minute (threshold: %d)",
    "flagged": "🚩 FLAGGED CONTENT ALERT! Image %s... received %d flags in 5 minutes (threshold: %d)",
}
_POPULAR: Final = "popular"


class LineLimit:
    """Lets at most a number of lines pass each second."""

    def __init__(self, per_second: int = _LINES_PER_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = 0
        self._left = per_second

    def take(self, wanted: int) -> int:
        """Number of the wanted lines that may be logged now."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._left = second, self._per_second
        granted = min(wanted, self._left)
        self._left -= granted
        return granted


class ConsumerReport:
    """Counts and logs the work of this process.

    Args:
        settings: texts of the banner, thresholds.
        progress: positions of this process.
        window_counts: reads the counts of groups for progress lines (see `ServerBatches`).
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        progress: StreamProgress,
        window_counts: Callable[[Sequence[EventGroup]], list[GroupCounts]],
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._window_counts = window_counts
        self._thresholds = {trigger.name: trigger.threshold for trigger in settings.window_triggers()}
        self._alerts: Counter[str] = Counter()
        self._records: Counter[str] = Counter()
        self._limit = LineLimit()
        self._summary_from = time.monotonic()
        self._summarised = 0
        self._unread_age = UnreadAge(progress)
        metrics.OLDEST_UNREAD_AGE.set_function(self._unread_age.seconds)

    def banner(self) -> None:
        """Log the settings, without passwords."""
        settings = self._settings
        lines = (
            _RULE,
            "GourmetGram stream consumer",
            f"Kafka: {settings.kafka_bootstrap_servers}, group {settings.kafka_consumer_group}",
            f"Topics: {', '.join(settings.topics)}",
            f"Requests to: {settings.moderation_topic}, bad messages to: {settings.dead_letter_topic}",
            f"Redis: {settings.redis_addresses}",
            f"PostgreSQL: {settings.address}",
            f"viral: {settings.viral_threshold_views_5min} views in 5 minutes, "
            f"suspicious: {settings.suspicious_threshold_comments_1min} comments in 1 minute, "
            f"flagged: {settings.flagged_threshold_flags_5min} flags in 5 minutes, "
            f"popular: {settings.popular_threshold_views_1hr} views in 1 hour",
            f"Request at upload: {'yes' if settings.trigger_on_upload else 'no'}, "
            f"again after minutes: {', '.join(map(str, settings.rescore_at_minutes)) or 'never'}",
            _RULE,
        )
        for line in lines:
            log.info("%s", line)

    def final_statistics(self) -> None:
        """Log the totals of this process."""
        log.info("%s", _RULE)
        log.info("FINAL STATISTICS")
        for name in (*self._thresholds, "milestone", UPLOAD_TRIGGER):
            log.info("Alerts %s: %d", name, self._alerts[name])
        for name in sorted(name for name in self._alerts if anchor_minutes(name) is not None):
            log.info("Requests %s: %d", name, self._alerts[name])
        for topic in self._settings.topics:
            log.info("Messages %s: %d", topic, self._records[topic])
        log.info("Messages in total: %d", self._records.total())
        log.info("%s", _RULE)

    def alert(self, alert: PendingRequest) -> None:
        """Log a condition that was met."""
        self._alerts[alert.trigger] += 1
        short = alert.image_id[:8]
        if alert.trigger in _ALERT_LINES:
            log.warning(_ALERT_LINES[alert.trigger], short, alert.count, self._thresholds[alert.trigger])
        elif alert.trigger == _POPULAR:
            log.info("⭐ POPULAR POST! Image %s... received %d views in 1 hour", short, alert.count)

    def request_sent(self, request: PendingRequest) -> None:
        """Log a request that the broker has confirmed."""
        if request.source is None:
            self._alerts[request.trigger] += 1
        log.info("Published moderation request for %s... (trigger: %s)", request.image_id[:8], request.trigger)

    def batch(self, applied: AppliedBatch) -> None:
        """Count and log the changes of a batch.

        Raises:
            RedisUnavailableError: the counts of a progress line could not be read.
        """
        self._count(applied)
        self._dead_letters(applied.batch.rejected)
        for alert in applied.alerts:
            metrics.ALERTS.labels(alert.trigger).inc()
            self.alert(alert)
        for milestone in applied.milestones:
            self._milestone(milestone)
        for image_id, error in applied.failures:
            metrics.FAILURES.labels("keys").inc()
            log.error("Keys of image %s could not be changed: %s", image_id, error)
        self._progress_lines(applied)

    def totals(self, statuses: Mapping[Partition, PartitionStatus]) -> None:
        """Update the lag, and log the counts by topic from time to time, when they have changed."""
        for partition, offset in self._progress.applied.items():
            status = statuses.get(partition)
            if status is not None and status.high is not None:
                metrics.LAG.labels(partition.topic, str(partition.number)).set(max(0, status.high - offset))
        now, total = time.monotonic(), self._records.total()
        if now - self._summary_from < _SUMMARY_EVERY_S or total == self._summarised or not self._limit.take(1):
            return
        self._summary_from, self._summarised = now, total
        parts = ", ".join(f"{topic}={self._records[topic]}" for topic in self._settings.topics)
        log.info("Messages so far: %s, in total %d", parts, total)

    def ages(self, statuses: Mapping[Partition, PartitionStatus]) -> None:
        """Update the age of the oldest unread event."""
        self._unread_age.look(statuses)

    def _count(self, applied: AppliedBatch) -> None:
        batch = applied.batch
        self._records.update(batch.records)
        metrics.BATCH_RECORDS.observe(batch.records.total())
        for kind, number in batch.events.items():
            metrics.EVENTS.labels(kind).inc(number)
        for kind, number in batch.ineligible.items():
            metrics.INELIGIBLE.labels(kind).inc(number)
        metrics.REPEATED.inc(batch.repeated + applied.repeated)

    def _dead_letters(self, rejected: Sequence[RejectedRecord]) -> None:
        for number, (record, bad) in enumerate(rejected):
            metrics.DEAD_LETTERS.labels(record.topic).inc()
            level = logging.WARNING if number < _DEAD_LETTERS_SHOWN else logging.DEBUG
            log.log(
                level, "Dead letter: %s/%d at offset %d: %s", record.topic, record.partition, record.offset, bad.error
            )

    def _milestone(self, milestone: Milestone) -> None:
        self._alerts["milestone"] += 1
        log.info("🎯 MILESTONE REACHED! Image %s... hit %d total views", milestone.image_id[:8], milestone.value)

    def _progress_lines(self, applied: AppliedBatch) -> None:
        """Log some progress: every 10th view of an image, comments, flags, uploads; at most ten lines a second."""
        if not log.isEnabledFor(logging.INFO):
            return
        uploads = [event.image_id for event, _ in applied.batch.eligible if event.kind == "upload"]
        worth = [place for place in range(len(applied.groups)) if _is_worth_a_line(applied, place)]
        granted = self._limit.take(len(worth) + len(uploads))
        for image_id in uploads[:granted]:
            log.info("Upload of image %s...", image_id[:8])
        shown = worth[: max(0, granted - len(uploads))]
        if not shown:
            return
        groups = [applied.groups[place] for place in shown]
        for place, group, counts in zip(shown, groups, self._window_counts(groups), strict=True):
            log.info(
                "%s of image %s...: 1m=%d 5m=%d 1h=%d total=%d",
                COUNTED_KINDS[group.kind].capitalize(),
                group.image_id[:8],
                *counts,
                applied.totals[place],
            )


def _is_worth_a_line(applied: AppliedBatch, place: int) -> bool:
    group, total = applied.groups[place], applied.totals[place]
    if group.kind != "view":
        return True
    before = total - (group.last - group.first + 1)
    return total // _VIEWS_PER_LINE > before // _VIEWS_PER_LINE
