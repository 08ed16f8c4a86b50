"""Wiring of the stream consumer, and its loop."""

import logging
import threading
import time
from collections.abc import Hashable
from typing import Final

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.dead_letters import DeadLetterTopic
from gourmetgram.kafka.status import BrokerWatch
from gourmetgram.observability import HealthServer, ProgressWatch
from stream_consumer import metrics
from stream_consumer.alignment import align
from stream_consumer.dead_letters import DeadLetters
from stream_consumer.handlers import BatchHandler, Outcome, Work
from stream_consumer.milestones import MilestoneWriter
from stream_consumer.partitions import Progress, TopicPartition
from stream_consumer.report import Report
from stream_consumer.requests import Requests
from stream_consumer.settings import ConsumerSettings
from stream_consumer.source import CLIENT_ID, EventSource
from stream_consumer.store import RedisUnavailableError, WindowStore, connect

log = logging.getLogger(__name__)

_POLL_S: Final = 0.1
# While a request is on its way, its confirmation is looked for more often.
_BUSY_POLL_S: Final = 0.01
_TICK_S: Final = 1.0
_COMMIT_EVERY_S: Final = 0.1
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_SILENT_POLL_S: Final = 30.0
_SAME_ERROR_EVERY_S: Final = 10.0
_SETTLE_S: Final = 2.0
_DEAD_LETTER_TIMEOUT_S: Final = 2.0


class StreamConsumer:
    """The consumer: reads batches, applies them, sends requests, commits.

    Args:
        settings: everything that can be set.
    """

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self._report = Report(settings)
        self._progress = Progress()
        self._redis = connect(settings)
        self._store = WindowStore(self._redis, settings)
        self._producer_watch = BrokerWatch()
        self._producer = producer = create_producer(settings, CLIENT_ID, **self._producer_watch.config())
        self._source = EventSource(settings, self)
        self._requests = Requests(
            self._store, self._source, self._progress, producer, settings.moderation_topic, self._report.request_sent
        )
        dead_letters = DeadLetters(
            DeadLetterTopic(
                lambda: create_producer(settings, f"{CLIENT_ID}-dead-letters"),
                settings.dead_letter_topic,
                settings.kafka_consumer_group,
                _DEAD_LETTER_TIMEOUT_S,
            )
        )
        self._engine = create_worker_engine(
            settings, "stream_consumer", pool_size=1, statement_timeout_ms=5_000, lock_timeout_ms=2_000
        )
        self._milestones = MilestoneWriter(self._store, self._engine)
        self._handler = BatchHandler(
            self._store, self._source, self._progress, dead_letters, self._requests, self._milestones, self._report
        )
        self._redis_up = False
        self._standstill = ProgressWatch(settings.standstill_seconds)
        self._waiting_for: str | None = None
        checks = {
            "redis": lambda: self._redis_up,
            "broker": lambda: self._source.broker_up,
            "polling": self._is_polling,
            "progress": self._standstill.moving,
        }
        details = {"waiting_for": lambda: self._waiting_for}
        self._health = HealthServer(settings.health_host, settings.health_port, checks, details)
        self._polled_at = time.monotonic()
        # The number of the rebalance after which reading was last begun; None: begin anew.
        self._aligned_at: int | None = None
        self._work: Work | None = None
        self._news: list[Outcome] = []
        self._committed: dict[TopicPartition, int] = {}
        self._next_tick = self._next_commit = self._next_look = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._last_error = ("", 0.0)
        self._finished = False

    @property
    def health_port(self) -> int:
        """Port of `/health` and `/metrics`."""
        return self._health.port

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop, then finish what is begun, commit, and leave the group.

        Args:
            stop: set from a signal handler or another thread.
        """
        self._report.banner()
        self._health.start()
        self._milestones.start()
        while not stop.is_set():
            try:
                self._step()
            except TransientError as error:
                self._wait_out(error)
            self._watch_progress()
        self._finish()

    def final_statistics(self) -> None:
        """Tell what was done, once."""
        if not self._finished:
            self._finished = True
            self._report.final_statistics()

    # --- one turn --------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        if not self._source.assigned:
            self._source.rest(_POLL_S)
            self._polled_at = time.monotonic()
            self._tick()
            return
        if self._aligned_at != self._source.rebalances:
            self._align()
        self._tick()
        records = self._poll()
        if self._aligned_at != self._source.rebalances:
            # The records may be of partitions that have just gone; those that stay are read again.
            return
        # While Redis works on the batch before, this one is parsed and put into the form of a call.
        ready = self._handler.prepare(records) if records else None
        if self._work is not None:
            self._complete()
            # Now, between two batches, Redis answers at once; later it would be at work on the next one.
            self._follow_up()
        if records and ready is None:
            self._aligned_at = None
        elif ready and self._aligned_at is not None:
            self._work = self._handler.begin(ready)
            if len(records) < self._settings.consumer_max_batch_records:
                # Nothing more waits, so nothing is gained by reading ahead.
                self._complete()
        if self._work is None:
            self._follow_up()
        self._commit(wait=False)
        if self._aligned_at is not None:
            # What was read has been sent: before that, it might still need what is trimmed.
            self._handler.trim_held()

    def _follow_up(self) -> None:
        """Do what follows from applied batches."""
        # Requests first: somebody may wait for the decision, nobody waits for a log line.
        self._requests.advance()
        self._tell()

    def _poll(self) -> list[Record]:
        timeout_s = _BUSY_POLL_S if self._requests.active else _POLL_S
        settings = self._settings
        records = self._source.poll(
            0.0 if self._work else timeout_s, settings.consumer_max_batch_records, settings.consumer_max_poll_records
        )
        self._polled_at = time.monotonic()
        return records

    def _complete(self) -> None:
        """Wait for the batch that Redis works on, if there is one."""
        work, self._work = self._work, None
        if work is None:
            return
        outcome = self._handler.finish(work)
        if outcome is None:
            log.warning("Redis stands at other offsets than this process: beginning anew from there")
            self._aligned_at = None
        else:
            self._news.append(outcome)
            self._waiting_for = None

    def _tell(self) -> None:
        news, self._news = self._news, []
        for outcome in news:
            self._handler.tell(outcome)

    def _align(self) -> None:
        rebalances = self._source.rebalances
        self._store.tune()
        align(self._source, self._store, self._progress)
        for request in self._requests.reload():
            self._report.alert(request)
        self._committed = {}
        self._aligned_at = rebalances
        self._pause_s = _FIRST_PAUSE_S

    def _tick(self) -> None:
        """What is done once a second, also when nothing comes."""
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + _TICK_S
        self._producer.poll(0)
        self._producer_watch.check()
        self._complete()
        applied = self._progress.applied
        if not applied:
            self._store.ping()
        elif self._store.offsets(list(applied)) != applied:
            # Redis was set back: restored, emptied, or restarted without its latest writes.
            log.warning("Redis stands at other offsets than this process: beginning anew from there")
            self._aligned_at = None
        else:
            self._requests.add_due_anchors()
        self._redis_up = True
        for partition, high in self._source.high.items():
            if partition in applied:
                metrics.LAG.labels(partition[0], str(partition[1])).set(max(0, high - applied[partition]))
        self._report.summary()

    def _wait_out(self, error: TransientError) -> None:
        """Wait for a server that is away: commit nothing, stay in the group, begin anew when it is back."""
        if isinstance(error, RedisUnavailableError):
            self._redis_up = False
        metrics.FAILURES.labels("redis" if isinstance(error, RedisUnavailableError) else "kafka").inc()
        self._waiting_for = text = str(error)
        now = time.monotonic()
        if text != self._last_error[0] or now - self._last_error[1] > _SAME_ERROR_EVERY_S:
            self._last_error = (text, now)
            log.warning("Waiting for a server: %s", text)
        self._aligned_at = None
        if self._work is not None:
            self._handler.abandon(self._work)
            self._work = None
        self._source.rest(self._pause_s)
        self._polled_at = time.monotonic()
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _watch_progress(self) -> None:
        """Once a second, note which partitions have records that are not done, and up to where they are done."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _TICK_S
        done, low = self._committable(), self._source.low
        unfinished: dict[Hashable, object] = {
            partition: done.get(partition)
            for partition, high in self._source.high.items()
            if partition in self._source.assigned and max(done.get(partition, 0), low.get(partition, 0)) < high
        }
        if self._source.assigned and self._aligned_at is None:
            unfinished["alignment"] = None
        if not unfinished:
            self._waiting_for = None
        self._standstill.look(unfinished)

    def _is_polling(self) -> bool:
        return time.monotonic() - self._polled_at < _SILENT_POLL_S

    # --- commits and partitions ------------------------------------------------------------------------------------

    def _commit(self, wait: bool) -> None:
        """Mirror Redis's offsets in Kafka, but none past a record whose request is not confirmed."""
        if not wait and time.monotonic() < self._next_commit:
            return
        self._next_commit = time.monotonic() + _COMMIT_EVERY_S
        offsets = self._committable()
        new = {partition: offset for partition, offset in offsets.items() if self._committed.get(partition) != offset}
        self._source.commit(new, wait)
        self._committed.update(new)

    def _committable(self) -> dict[TopicPartition, int]:
        """Per partition, the offset before which all is in Redis and all requests are confirmed."""
        held = self._requests.held_back()
        return {
            partition: min(offset, held.get(partition, offset)) for partition, offset in self._progress.applied.items()
        }

    def partitions_go(self, lost: bool) -> None:
        """Settle what is on its way and commit, while the partitions are still ours."""
        try:
            self._complete()
            self._requests.settle(_SETTLE_S)
            if not lost:
                self._commit(wait=True)
        except TransientError as error:
            log.warning("Partitions go without a last commit: %s", error)
        self._requests.drop()
        self._handler.forget()
        self._progress.restart({}, {})
        self._aligned_at = None

    def _tell_rest(self) -> None:
        try:
            self._tell()
        except TransientError as error:
            log.warning("The last progress lines are missing: %s", error)

    def _finish(self) -> None:
        log.info("Stopping: committing and leaving the group")
        self._milestones.stop(timeout_s=1.0)
        self.partitions_go(lost=False)
        self._tell_rest()
        self._source.close()
        self._health.stop()
        self._engine.dispose()
        self._redis.close()
        self.final_statistics()
