"""The loop: read requests, handle them, publish dead letters, commit; wait and repeat while a server is away."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice
from typing import Protocol

from gourmetgram.errors import TransientError
from gourmetgram.events import BadMessage, Record
from gourmetgram.kafka.dead_letters import DeadLetterSink, RejectedRecord
from gourmetgram.kafka.partitions import NextOffsets, Partition, Position
from gourmetgram.moments import SECOND_US, now_us
from gourmetgram.observability import ProgressWatch
from risk_scoring_service import metrics
from risk_scoring_service.decide import RiskModel
from risk_scoring_service.handlers import BatchOutcome, Waiting
from risk_scoring_service.offsets import SettledOffsets
from risk_scoring_service.store import ServerError

log = logging.getLogger(__name__)

POLL_S = 0.25
"""Longest wait for a record, so that a stop is noticed soon, seconds."""

MAX_WAITING = 10_000
"""Number of unfinished requests in memory at which reading pauses."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Time between two attempts while a server is away, seconds; it doubles from the first to the second."""

PING_AFTER_S = 3.0
"""Time between two pings of PostgreSQL while the service is idle, seconds: without them its health would be a guess."""

STUCK_AFTER_S = 10.0
"""Duration of one round after which the loop counts as stuck at a silent server, seconds."""


class RequestFeed(Protocol):
    """Kafka as the loop sees it; see `source.RequestSource`."""

    @property
    def connected(self) -> bool:
        """True while a broker is connected."""

    def subscribe(self, on_lost: Callable[[Iterable[Partition]], None]) -> None:
        """Join the group."""

    def poll(self, most: int, timeout_s: float) -> list[Record]:
        """Poll for records that have arrived."""

    def pause(self, paused: bool) -> None:
        """Stop or resume fetching."""

    def commit(self, next_offsets: NextOffsets) -> None:
        """Commit next offsets."""

    def close(self) -> None:
        """Leave the group."""


class BatchDecider(Protocol):
    """Decisions as the loop sees them; see `handlers.Handler`."""

    def read(self, record: Record) -> Waiting | BadMessage:
        """Read one record."""

    def handle(self, batch: Sequence[Waiting], model: RiskModel | None) -> BatchOutcome:
        """Decide a batch and store its rows."""


class Worker:
    """One member of the consumer group, single-threaded.

    Args:
        source: source of the requests.
        handler: decides and stores.
        dead_letters: takes the records that cannot be processed.
        ping: checks that PostgreSQL answers.
        model: returns the model in use, if any.
        batch_size: largest number of requests in one batch.
        standstill: detects pending work that does not move.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        source: RequestFeed,
        handler: BatchDecider,
        dead_letters: DeadLetterSink,
        ping: Callable[[], None],
        model: Callable[[], RiskModel | None],
        batch_size: int,
        standstill: ProgressWatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._handler = handler
        self._dead_letters = dead_letters
        self._ping = ping
        self._model = model
        self._batch_size = batch_size
        self._standstill = standstill
        self._clock = clock
        self.waiting_for: str | None = None
        """Reason why the service waits, as a sentence; None while it works."""
        self._decided = self._set_aside = 0
        self._offsets = SettledOffsets()
        self._waiting: dict[Position, Waiting] = {}
        self._dead: list[RejectedRecord] = []
        self._pause_s = 0.0
        self._paused_until = 0.0
        self._failed_server: str | None = None
        self._last_sign = float("-inf")
        self._last_round = self._clock()
        self._postgres_answers = False
        self._oldest_us: int | None = None
        metrics.OLDEST_AGE.set_function(self.oldest_age_s)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Pending requests are read again by the next process."""
        self._source.subscribe(on_lost=self._forget)
        try:
            while not stop.is_set():
                self.step()
        finally:
            self._source.close()

    def postgres_healthy(self) -> bool:
        """True when PostgreSQL answered the last time."""
        return self._postgres_answers

    def kafka_healthy(self) -> bool:
        """True while a broker is connected."""
        return self._source.connected

    def moving(self) -> bool:
        """True while the loop completes its rounds: a server that stalls without an error stops it."""
        return self._clock() - self._last_round < STUCK_AFTER_S

    def progressing(self) -> bool:
        """True while pending work moves on."""
        return self._standstill.moving()

    def step(self) -> None:
        """One round."""
        self._last_round = now = self._clock()
        # While the broker refuses dead letters or commits, reading goes on: requests are decided meanwhile.
        store_away = now < self._paused_until and self._failed_server != "kafka"
        self._source.pause(store_away or len(self._waiting) + len(self._dead) >= MAX_WAITING)
        for record in self._source.poll(self._batch_size, self._patience(now)):
            self._accept(record)
        metrics.WAITING.set(len(self._waiting))
        self._oldest_us = self._oldest_broker_time_us()
        if self._clock() < self._paused_until:
            return
        try:
            self._work()
        except TransientError as error:
            self._back_off(error)
        else:
            self._recovered()
        self._oldest_us = self._oldest_broker_time_us()
        self._standstill.look(self._unfinished())

    def oldest_age_s(self) -> float:
        """Time for which the broker has held the oldest request that was read and is not settled; 0 without one."""
        # Read once: the thread of the metrics page asks.
        oldest_us = self._oldest_us
        return 0.0 if oldest_us is None else max(0, now_us() - oldest_us) / SECOND_US

    def _oldest_broker_time_us(self) -> int | None:
        """Broker time of the unsettled request that was read first."""
        records = [item.record for item in islice(self._waiting.values(), 1)] + [item.record for item in self._dead[:1]]
        return min((record.broker_time_us for record in records), default=None)

    def _unfinished(self) -> dict[Hashable, object]:
        """Work that is due and not done: per kind, its progress."""
        now = self._clock()
        unfinished: dict[Hashable, object] = {}
        if any(item.due <= now for item in self._waiting.values()):
            unfinished["decisions"] = self._decided
        if self._dead:
            unfinished["dead letters"] = self._set_aside
        if offsets := self._offsets.to_commit():
            unfinished["commit"] = offsets
        return unfinished

    def _patience(self, now: float) -> float:
        """Longest wait for the next record, seconds: none while work is due."""
        if now < self._paused_until:
            return min(POLL_S, self._paused_until - now)
        if self._dead or self._offsets.to_commit():
            return 0.0
        next_due = min((item.due for item in self._waiting.values()), default=now + POLL_S)
        return max(0.0, min(POLL_S, next_due - now))

    def _accept(self, record: Record) -> None:
        self._offsets.read(record)
        item = self._handler.read(record)
        if isinstance(item, BadMessage):
            self._dead.append(RejectedRecord(record, item))
        else:
            self._waiting[Position.of(record)] = item

    def _work(self) -> None:
        self._decide()
        self._publish_dead_letters()
        self._commit()
        if self._clock() - self._last_sign > PING_AFTER_S:
            self._ping()
            self._postgres_answered()

    def _decide(self) -> None:
        """Handle the due requests, in the order of arrival, at most one batch."""
        now = self._clock()
        batch = list(islice((item for item in self._waiting.values() if item.due <= now), self._batch_size))
        if not batch:
            return
        with metrics.BATCH_SECONDS.time():
            outcome = self._handler.handle(batch, self._model())
        self._postgres_answered()
        self._settle(outcome.settled)
        self._decided += len(batch)
        self._dead += outcome.dead
        for record, _ in outcome.dead:
            self._waiting.pop(Position.of(record), None)

    def _publish_dead_letters(self) -> None:
        if not self._dead:
            return
        self._dead_letters.publish(self._dead)
        for record, bad in self._dead:
            metrics.DEAD_LETTERS.labels(bad.reason).inc()
            log.warning(
                "Dead letter: %s partition %d offset %d: %s", record.topic, record.partition, record.offset, bad.error
            )
        records = [record for record, _ in self._dead]
        self._settle(records)
        self._dead_letters.settle(records)
        self._set_aside += len(self._dead)
        self._dead = []

    def _commit(self) -> None:
        offsets = self._offsets.to_commit()
        if offsets:
            self._source.commit(offsets)
            self._offsets.committed(offsets)

    def _settle(self, records: Iterable[Record]) -> None:
        for record in records:
            self._waiting.pop(Position.of(record), None)
            self._offsets.settle([record])

    def _forget(self, partitions: Iterable[Partition]) -> None:
        """Drop all state of partitions that left this member; their next reader starts at the last commit."""
        lost = set(partitions)
        self._offsets.forget(lost)
        self._dead_letters.forget(lost)
        self._waiting = {position: item for position, item in self._waiting.items() if position.partition not in lost}
        self._dead = [item for item in self._dead if Partition.of(item.record) not in lost]

    def _postgres_answered(self) -> None:
        self._postgres_answers = True
        self._last_sign = self._clock()

    def _back_off(self, error: TransientError) -> None:
        server = self._failed_server = error.server if isinstance(error, ServerError) else "kafka"
        metrics.FAILURES.labels(server).inc()
        if server == "postgres":
            self._postgres_answers = False
        self.waiting_for = str(error)
        level = logging.DEBUG if self._pause_s else logging.WARNING
        log.log(level, "Waiting, nothing is lost: %s", error)
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
        self._paused_until = self._clock() + self._pause_s

    def _recovered(self) -> None:
        self.waiting_for = None
        if self._pause_s:
            log.info("Going on: all servers answer again")
            self._pause_s = 0.0
