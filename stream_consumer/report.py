"""What the consumer tells people: the lab's log lines, progress, the banner and the final statistics."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from stream_consumer.pending import Pending
from stream_consumer.settings import ConsumerSettings
from stream_consumer.store import Applied, Milestone, WindowCounts

log = logging.getLogger(__name__)

_RULE: Final = "=" * 60
_LINES_PER_S: Final = 10
_SUMMARY_EVERY_S: Final = 10.0


class LineLimit:
    """Lets at most a number of lines pass each second."""

    def __init__(self, per_second: int = _LINES_PER_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = 0
        self._left = per_second

    def take(self, wanted: int) -> int:
        """How many of the wanted lines may be logged now."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._left = second, self._per_second
        granted = min(wanted, self._left)
        self._left -= granted
        return granted


class Report:
    """Counts what happened, and says it.

    Args:
        settings: thresholds for the texts.
    """

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self._alerts: Counter[str] = Counter()
        self._records: Counter[str] = Counter()
        self._limit = LineLimit()
        self._summary_from = time.monotonic()
        self._summarised = 0

    # --- start and end ---------------------------------------------------------------------------------------------

    def banner(self) -> None:
        """Tell the settings; passwords are left out."""
        settings = self._settings
        database = urlsplit(settings.database_url)
        lines = (
            _RULE,
            "GourmetGram stream consumer",
            f"Kafka: {settings.kafka_bootstrap_servers}, group {settings.kafka_consumer_group}",
            f"Topics: {', '.join(settings.topics)}",
            f"Requests to: {settings.moderation_topic}, bad messages to: {settings.dead_letter_topic}",
            f"Redis: {settings.redis_host}:{settings.redis_port}/{settings.redis_db}",
            f"PostgreSQL: {database.hostname}:{database.port or 5432}{database.path}",
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
        """Tell what this process did."""
        log.info("%s", _RULE)
        log.info("FINAL STATISTICS")
        for name in ("viral", "suspicious", "flagged", "popular", "milestone", "upload"):
            log.info("Alerts %s: %d", name, self._alerts[name])
        for name in sorted(name for name in self._alerts if name.startswith("anchor_")):
            log.info("Requests %s: %d", name, self._alerts[name])
        for topic in self._settings.topics:
            log.info("Messages %s: %d", topic, self._records[topic])
        log.info("Messages in total: %d", self._records.total())
        log.info("%s", _RULE)

    # --- alerts ----------------------------------------------------------------------------------------------------

    def alert(self, alert: Pending) -> None:
        """Tell that a condition was met."""
        self._alerts[alert.trigger] += 1
        short, count, settings = alert.image_id[:8], alert.count, self._settings
        if alert.trigger == "viral":
            text = "🔥 VIRAL CONTENT ALERT! Image %s... received %d views in 5 minutes (threshold: %d)"
            log.warning(text, short, count, settings.viral_threshold_views_5min)
        elif alert.trigger == "suspicious":
            text = "⚠️ SUSPICIOUS ACTIVITY ALERT! Image %s... received %d comments in 1 minute (threshold: %d)"
            log.warning(text, short, count, settings.suspicious_threshold_comments_1min)
        elif alert.trigger == "flagged":
            text = "🚩 FLAGGED CONTENT ALERT! Image %s... received %d flags in 5 minutes (threshold: %d)"
            log.warning(text, short, count, settings.flagged_threshold_flags_5min)
        elif alert.trigger == "popular":
            log.info("⭐ POPULAR POST! Image %s... received %d views in 1 hour", short, count)

    def milestone(self, milestone: Milestone) -> None:
        """Tell that an image reached a round number of views."""
        self._alerts["milestone"] += 1
        log.info("🎯 MILESTONE REACHED! Image %s... hit %d total views", milestone.image_id[:8], milestone.value)

    def request_sent(self, request: Pending) -> None:
        """Tell that the broker has a request."""
        if request.source is None:
            self._alerts[request.trigger] += 1
        log.info("Published moderation request for %s... (trigger: %s)", request.image_id[:8], request.trigger)

    # --- progress --------------------------------------------------------------------------------------------------

    def progress(
        self,
        applied: Applied,
        uploads: Sequence[str],
        counts_of: Callable[[Sequence[int]], Sequence[WindowCounts]],
    ) -> None:
        """Tell some of what a batch brought: every 10th view of an image, comments, flags, uploads.

        Args:
            applied: what changed.
            uploads: the images that were uploaded.
            counts_of: asks for the window counts of groups, by their places in `applied.groups`.
        """
        if not log.isEnabledFor(logging.INFO):
            return
        worth = [place for place in range(len(applied.groups)) if _is_worth_a_line(applied, place)]
        granted = self._limit.take(len(worth) + len(uploads))
        shown = worth[: max(0, granted - len(uploads))]
        for image_id in uploads[:granted]:
            log.info("Upload of image %s...", image_id[:8])
        if not shown:
            return
        for place, counts in zip(shown, counts_of(shown), strict=True):
            group = applied.groups[place]
            log.info(
                "%s of image %s...: 1m=%d 5m=%d 1h=%d total=%d",
                group.kind.capitalize(),
                group.image_id[:8],
                *counts,
                applied.totals[place],
            )

    def count_records(self, records: Mapping[str, int]) -> None:
        """Count messages, by topic."""
        self._records.update(records)

    def summary(self) -> None:
        """Tell the counts by topic now and then, when they have changed."""
        now, total = time.monotonic(), self._records.total()
        if now - self._summary_from < _SUMMARY_EVERY_S or total == self._summarised or not self._limit.take(1):
            return
        self._summary_from, self._summarised = now, total
        parts = ", ".join(f"{topic}={self._records[topic]}" for topic in self._settings.topics)
        log.info("Messages so far: %s, in total %d", parts, total)


def _is_worth_a_line(applied: Applied, place: int) -> bool:
    group, total = applied.groups[place], applied.totals[place]
    if group.kind != "views":
        return True
    before = total - (group.last - group.first + 1)
    return total // 10 > before // 10
