"""The loop of the stream consumer: one protocol, in numbered steps.

1. Align. Compare the offsets in Redis with the broker, take over the requests that Redis keeps, recover what Redis has
   forgotten during a stop, and start to read.
2. Poll. Take the records that have arrived.
3. Prepare. Parse them and form one call, while Redis works on the batch before; dead letters are confirmed first.
4. Apply. Wait for the batch before, then send this one: windows, alerts, requests and offsets change together.
5. Request. Fix the contexts of raised requests, publish them, and delete those that the broker has confirmed.
6. Report. Count and log the changes of batches.
7. Commit. Mirror the offsets of Redis in Kafka, but none past a record whose request is not confirmed.
8. Trim. Shrink windows that were kept longer for records which are applied by now.

Every event counts once, because step 4 changes offsets and state together, and only if Redis has the expected offsets.
When it has others, a server is or was away, or partitions are assigned, the loop goes back to step 1. Nothing else
needs to be undone: state in memory is dropped, and the authoritative state is in Redis.
"""

import logging
import threading
import time
from collections.abc import Hashable
from enum import Enum, auto
from typing import Final

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.status import BrokerWatch
from stream_consumer import metrics
from stream_consumer.alignment import Alignment
from stream_consumer.batch import SplitCall
from stream_consumer.commits import CommitMirror
from stream_consumer.handlers import BatchHandler
from stream_consumer.health import ConsumerHealth
from stream_consumer.recovery import Recovery
from stream_consumer.report import ConsumerReport
from stream_consumer.requests import RequestPipeline
from stream_consumer.retention import WindowRetention
from stream_consumer.settings import ConsumerSettings
from stream_consumer.source import EventSource
from stream_consumer.store.batches import AppliedBatch
from stream_consumer.store.connection import RedisUnavailableError

log = logging.getLogger(__name__)

_POLL_S: Final = 0.1
# While a request is in flight, its confirmation is polled more often.
_BUSY_POLL_S: Final = 0.01
_EVERY_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_SAME_ERROR_EVERY_S: Final = 10.0
_SETTLE_S: Final = 2.0
_REDIS_MOVED: Final = "Redis has other offsets than this process"


class Phase(Enum):
    """State of the worker towards its partitions."""

    UNASSIGNED = auto()
    """No partitions are assigned: wait in the group."""

    ALIGNING = auto()
    """The positions of this process may differ from those in Redis: step 1 is due."""

    RECOVERING = auto()
    """The positions agree: step 1 reads again what Redis has forgotten."""

    READING = auto()
    """The positions agree: steps 2 to 8."""


class StreamWorker:
    """One member of the consumer group, single-threaded.

    Args:
        settings: sizes of batches.
        source: source of events; this worker follows its rebalances.
        alignment: step 1.
        recovery: step 1, after a stop or a loss.
        handler: steps 3 and 4.
        requests: step 5.
        report: step 6.
        commits: step 7.
        retention: step 8.
        health: state for `/health`.
        producer_watch: detects a producer that cannot recover.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        source: EventSource,
        alignment: Alignment,
        recovery: Recovery,
        handler: BatchHandler,
        requests: RequestPipeline,
        report: ConsumerReport,
        commits: CommitMirror,
        retention: WindowRetention,
        health: ConsumerHealth,
        producer_watch: BrokerWatch,
    ) -> None:
        self._max_records = settings.consumer_max_batch_records
        self._records_at_once = settings.consumer_max_poll_records
        self._source = source
        self._alignment = alignment
        self._recovery = recovery
        self._handler = handler
        self._requests = requests
        self._report = report
        self._commits = commits
        self._retention = retention
        self._health = health
        self._producer_watch = producer_watch
        self._phase = Phase.UNASSIGNED
        self._unreported: list[AppliedBatch] = []
        self._next_check = self._next_watch = 0.0
        self._broker_was_away = False
        self._pause_s = _FIRST_PAUSE_S
        self._last_error = ("", 0.0)

    @property
    def phase(self) -> Phase:
        """State towards the partitions."""
        return self._phase

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then finish the batch in flight, commit, and leave the group.

        Raises:
            PlatformError: a client is broken for good; only a new process can help.
        """
        self._source.subscribe(self)
        while not stop.is_set():
            self.turn()
        log.info("Stopping: committing and leaving the group")
        self.partitions_revoked(lost=False)
        try:
            self._report_batches()
        except TransientError as error:
            log.warning("The last progress lines are missing: %s", error)
        self._source.close()

    def turn(self) -> None:
        """One round of the protocol. Waits while a server is away."""
        try:
            self._step()
        except TransientError as error:
            self._wait_out(error)
        self._watch_progress()

    def _step(self) -> None:
        """Steps 1 to 8 of the module's docstring."""
        if self.phase is Phase.UNASSIGNED:
            self._rest(_POLL_S)
            self._check_servers()
            return
        if self.phase is Phase.ALIGNING:
            self._align()  # 1
        if self.phase is Phase.RECOVERING and not self._recover():  # 1
            return
        self._check_servers()
        records = self._poll()  # 2
        if self.phase is not Phase.READING:
            # The records may be of revoked partitions; those of partitions that stay are read again.
            return
        call = self._handler.prepare(records) if records else None  # 3
        if self._handler.in_flight:
            self._receive()  # 4, the batch before
            # Between two batches Redis answers at once; later it would be busy with the next one.
            self._follow_up()
        if records and call is None:
            self._phase = Phase.ALIGNING
        elif call is not None and self.phase is Phase.READING:
            self._send(call, full=len(records) >= self._max_records)  # 4, this batch
        if not self._handler.in_flight:
            self._follow_up()
        self._commits.commit()  # 7
        if self.phase is Phase.READING and not self._handler.in_flight:
            # Only when all polled records are applied: until then they might still need the trimmed members. A batch in
            # flight has another connection, so Redis might execute the trimming before it.
            self._retention.trim()  # 8

    def _align(self) -> None:
        self._broker_was_away = False
        self._alignment.align()
        for request in self._requests.reload():
            self._report.alert(request)
        self._requests.add_due_anchors()
        self._health.redis_up = True
        self._commits.restart()
        self._recovery.start()
        self._phase = Phase.RECOVERING

    def _recover(self) -> bool:
        """Read some records again; True when the stream can go on."""
        if self._recovery.step():
            self._rest(0.0)
            return False
        self._alignment.begin()
        self._phase = Phase.READING
        self._pause_s = _FIRST_PAUSE_S
        return True

    def _poll(self) -> list[Record]:
        timeout_s = _BUSY_POLL_S if self._requests.active else _POLL_S
        records = self._source.poll(
            0.0 if self._handler.in_flight else timeout_s, self._max_records, self._records_at_once
        )
        self._health.polled()
        return records

    def _rest(self, timeout_s: float) -> None:
        self._source.rest(timeout_s)
        self._health.polled()

    def _send(self, call: SplitCall, full: bool) -> None:
        self._handler.send(call)
        if not full:
            # No more records have arrived, so reading ahead gains nothing.
            self._receive()

    def _receive(self) -> None:
        """Wait for the batch in flight, if there is one."""
        if not self._handler.in_flight:
            return
        applied = self._handler.receive()
        if applied is None:
            self._realign(_REDIS_MOVED)
        else:
            self._unreported.append(applied)
            self._health.waiting_for = None

    def _realign(self, reason: str) -> None:
        log.warning("%s: starting again from the offsets in Redis", reason)
        self._phase = Phase.ALIGNING

    def _follow_up(self) -> None:
        # Requests first: a moderator may wait for the decision, but not for a log line.
        self._requests.advance()  # 5
        self._report_batches()  # 6

    def _report_batches(self) -> None:
        batches, self._unreported = self._unreported, []
        for applied in batches:
            self._report.batch(applied)

    def _check_servers(self) -> None:
        """Once a second, also without records: check the servers, and take anchors whose time has come."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + _EVERY_S
        self._requests.serve()
        self._producer_watch.check()
        self._receive()
        if not self._alignment.holds():
            self._realign(_REDIS_MOVED)
        elif self.phase is Phase.READING:
            self._requests.add_due_anchors()
            if self._broker_came_back():
                # It may have lost its newest records, and others may have their offsets by now.
                self._realign("The broker was away")
        self._health.redis_up = True
        self._report.totals(self._source.statuses)

    def _broker_came_back(self) -> bool:
        """True once after each time that the connection was lost, when it is there again."""
        if not self._source.connected:
            self._broker_was_away = True
            return False
        came_back, self._broker_was_away = self._broker_was_away, False
        return came_back

    def _wait_out(self, error: TransientError) -> None:
        """Wait for a server that is away: stay in the group, commit nothing, and align when it is back."""
        redis_away = isinstance(error, RedisUnavailableError)
        if redis_away:
            self._health.redis_up = False
        metrics.FAILURES.labels("redis" if redis_away else "kafka").inc()
        self._health.waiting_for = text = str(error)
        now = time.monotonic()
        if text != self._last_error[0] or now - self._last_error[1] > _SAME_ERROR_EVERY_S:
            self._last_error = (text, now)
            log.warning("Waiting for a server: %s", text)
        self._handler.abandon()
        if self.phase in (Phase.RECOVERING, Phase.READING):
            self._phase = Phase.ALIGNING
        self._rest(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _watch_progress(self) -> None:
        """Once a second, record the partitions with unapplied records, each with its applied offset."""
        now = time.monotonic()
        if now < self._next_watch:
            return
        self._next_watch = now + _EVERY_S
        done, statuses = self._commits.committable(), self._source.statuses
        self._report.ages(statuses)
        unfinished: dict[Hashable, object] = {}
        for partition in self._source.assigned:
            status = statuses.get(partition)
            if status is None or status.high is None:
                continue
            if max(done.get(partition, 0), status.low or 0) < status.high:
                unfinished[partition] = done.get(partition)
        if self.phase is Phase.ALIGNING:
            unfinished["alignment"] = None
        if self.phase is Phase.RECOVERING:
            unfinished["recovery"] = self._recovery.records
        self._health.watch(unfinished)

    def partitions_assigned(self) -> None:
        """Go to step 1. See `RebalanceListener`."""
        self._phase = Phase.ALIGNING if self._source.assigned else Phase.UNASSIGNED

    def partitions_revoked(self, lost: bool) -> None:
        """Finish what is in flight and commit, while the partitions are still assigned. See `RebalanceListener`."""
        try:
            self._receive()
            self._requests.settle(_SETTLE_S)
            if not lost:
                self._commits.commit(wait=True)
        except TransientError as error:
            log.warning("Partitions were revoked without a last commit: %s", error)
        self._handler.forget()
        self._phase = Phase.UNASSIGNED
