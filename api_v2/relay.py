"""The relay: moves events from the outbox to Kafka, in order, at least once, always with the same event_id.

One relay is active at a time: that of the API process that holds PostgreSQL's advisory lock. It reads and marks over
the connection that holds the lock. A lost connection is a lost lock: the relay can read and mark nothing more. Events
that were in flight then are published again by its successor. Readers recognise these duplicates by event_id.
"""

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections import Counter as CounterOf
from collections import deque
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import asyncpg

from api_v1.metrics import SEVERAL_PROCESSES
from api_v2.confirmations import Confirmations
from api_v2.metrics import (
    BROKER_CONNECTED,
    EVENTS_PENDING,
    EVENTS_PUBLISHED,
    OLDEST_EVENT_AGE,
    published_by_topic,
)
from api_v2.pruning import Pruner
from api_v2.publisher import OutboxEvent, OutboxPublisher
from api_v2.settings import ApiV2Settings
from gourmetgram.database.pool import CONNECTION_LOST, Connection, Database, deadline_after, describe, now
from gourmetgram.errors import TransientError

log = logging.getLogger(__name__)

LOCK_KEY: Final = 0x6F7574626F78
"""Key of the advisory lock: "outbox" in ASCII."""

WAKE_CHANNEL: Final = "event_outbox"
"""Channel on which relays that stand by tell the active one of new events."""

BATCH: Final = 1_000
POLL_S: Final = 0.5
"""Longest time until events of other writers are found, seconds; commits of an API process wake the relay at once."""

STANDBY_POLL_S: Final = 1.0
MONITOR_S: Final = 1.0
RETRY_S: Final = 0.5
STATEMENT_TIMEOUT_S: Final = 10.0
DRAIN_S: Final = 2.0
"""Wait of a stop for the last events, seconds, unless it is given another one."""

_READ: Final = """
SELECT sequence, topic, message_key, payload::text FROM event_outbox
WHERE published_at IS NULL AND sequence > $1 AND topic <> ALL($3::text[]) AND sequence <> ALL($4::bigint[])
ORDER BY sequence LIMIT $2
"""
COUNT_UP_TO: Final = 100_000
"""Largest number of pending events that is counted: a long outage must not make the count itself slow."""

_COUNT: Final = f"""
SELECT count(*) AS pending, extract(epoch FROM clock_timestamp() - min(created_at)) AS oldest_s
FROM (SELECT created_at FROM event_outbox WHERE published_at IS NULL ORDER BY sequence LIMIT {COUNT_UP_TO}) AS waiting
"""  # noqa: S608 - a number of our own


class Floor:
    """Sequence below which no event is pending: saves the index scan of rows that were just marked.

    A sequence number is assigned before its transaction commits. A smaller number may still appear for as long as a
    writing transaction can take, so the floor stays `SETTLED_AFTER_S` behind. Every `FULL_LOOK_EVERY_S` it is ignored
    once, for writers that take longer (a backfill by hand).
    """

    SETTLED_AFTER_S: Final = 10.0
    FULL_LOOK_EVERY_S: Final = 5.0

    def __init__(self) -> None:
        self._value = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._full_look_at = 0.0

    def value(self, clock: float) -> int:
        """Sequence to read after."""
        if clock >= self._full_look_at:
            self._full_look_at = clock + self.FULL_LOOK_EVERY_S
            return 0
        while self._seen and clock - self._seen[0][0] > self.SETTLED_AFTER_S:
            self._value = self._seen.popleft()[1]
        return self._value

    def published_up_to(self, sequence: int, clock: float) -> None:
        """Record that all events up to this sequence are published."""
        if not self._seen or clock - self._seen[-1][0] > 1.0:
            self._seen.append((clock, sequence))


class Resting:
    """Topics that are skipped for a while, because they refused their events; longer after each failure."""

    FIRST_S: Final = 0.5
    LONGEST_S: Final = 30.0

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def topics(self, clock: float) -> set[str]:
        """Topics to skip now."""
        return {topic for topic, (until, _) in self._until.items() if until > clock}

    def tried(self, topics: Set[str], failed: Set[str], clock: float) -> None:
        """Record the result of an attempt: the topics, and those of them that failed."""
        for topic in topics - failed:
            self._until.pop(topic, None)
        for topic in failed:
            _, last_s = self._until.get(topic, (0.0, 0.0))
            pause_s = min(self.LONGEST_S, 2 * last_s or self.FIRST_S)
            self._until[topic] = (clock + pause_s, pause_s)

    def wake(self, topics: Set[str]) -> None:
        """Stop skipping these topics."""
        for topic in topics:
            self._until.pop(topic, None)


class Relay:
    """Publishes the outbox in the background.

    Args:
        database: the database with the outbox.
        settings: address of the broker, the topics, and the retention of published events.
    """

    def __init__(self, database: Database, settings: ApiV2Settings) -> None:
        self._database = database
        self._publisher = OutboxPublisher(settings)
        self._retention_s = settings.outbox_retention_s
        self._marking = True
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="relay")
        self._probe_thread = ThreadPoolExecutor(1, thread_name_prefix="relay-probe")
        self._wake = asyncio.Event()
        self._abandon = threading.Event()
        self._empty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._published: CounterOf[str] = CounterOf()
        self._connected = False
        self._failing = False
        self._resting = Resting()
        self._postgres_answers = True
        self._pending = 0

    def wake(self) -> None:
        """Wake the relay: events were committed."""
        self._empty.clear()
        self._wake.set()

    def connected(self) -> bool:
        """True while the broker answers and the relay works."""
        return self._connected and not self._failing

    def health(self) -> dict[str, object]:
        """Body of `/health`, from memory."""
        connected = self.connected()
        published = published_by_topic() if SEVERAL_PROCESSES else dict(self._published)
        healthy = (
            connected and self._postgres_answers and self._marking and not self._publisher.missing and not self._resting
        )
        return {
            "status": "healthy" if healthy else "degraded",
            "kafka_enabled": connected,
            "kafka_stats": {
                "enabled": connected,
                "total_events": sum(published.values()),
                "events_by_topic": published,
                "outbox_pending": self._pending,
            },
        }

    async def start(self) -> None:
        """Start in the background; the broker and the database may come later."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._monitor())]

    async def stop(self, timeout_s: float = DRAIN_S) -> None:
        """Publish the pending events within the time-out, then end; the rest stay in the outbox."""
        if self._connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        self._abandon.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown()
        self._probe_thread.shutdown()
        self._publisher.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._lead()
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
                log.warning("The relay lost its database connection: %s", describe(error))
            except Exception:
                # The outermost loop: the relay must survive any programming error.
                log.exception("The relay failed and starts again")
                self._failing = True
            await asyncio.sleep(RETRY_S)

    async def _lead(self) -> None:
        """Become the active relay, and publish until the connection is lost."""
        connection = await self._database.connect(deadline_after())
        self._abandon.clear()
        # A thread that waits for the broker must stop at once when the lock is lost.
        connection.add_termination_listener(lambda _connection: self._abandon.set())
        try:
            await connection.execute(f"SET statement_timeout = {round(STATEMENT_TIMEOUT_S * 1000)}")
            # A mark that a crash undoes only repeats an event.
            await connection.execute("SET synchronous_commit = off")
            while not await connection.fetchval(
                "SELECT pg_try_advisory_lock($1)", LOCK_KEY, timeout=STATEMENT_TIMEOUT_S
            ):
                await self._stand_by(connection)
            log.info("This process publishes the outbox now")
            await connection.add_listener(WAKE_CHANNEL, lambda *_: self.wake())
            floor, confirmations = Floor(), Confirmations(STATEMENT_TIMEOUT_S)
            pruner = Pruner(self._retention_s, STATEMENT_TIMEOUT_S)
            while True:
                await self.publish_some(connection, floor, confirmations)
                await pruner.prune(connection, now())
        finally:
            self._abandon.set()
            connection.terminate()

    async def _stand_by(self, connection: Connection) -> None:
        """Tell the active relay of events that this process has committed, until the lock is worth another try."""
        try_again_at = now() + STANDBY_POLL_S
        while (left_s := try_again_at - now()) > 0:
            self._empty.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left_s)
                self._wake.clear()
                # Not in the transactions of the rows: PostgreSQL commits those that notify one after the other.
                await connection.execute(f"NOTIFY {WAKE_CHANNEL}")

    async def publish_some(self, connection: Connection, floor: Floor, confirmations: Confirmations) -> None:
        """One round: read, publish, mark the confirmed events; wait when none is pending.

        Args:
            connection: the connection that holds the lock.
            floor: sequence to read after, kept from round to round while the lock is held.
            confirmations: events whose rows are not marked yet, kept like the floor.
        """
        self._wake.clear()
        left_out = self._publisher.missing | self._resting.topics(now())
        after = floor.value(now())
        records = await connection.fetch(
            *(_READ, after, 0 if confirmations.full else BATCH, sorted(left_out), confirmations.sequences),
            timeout=STATEMENT_TIMEOUT_S,
        )
        rows = [OutboxEvent(sequence, topic, key, payload.encode()) for sequence, topic, key, payload in records]
        confirmed = await self._publish(rows) if rows else []
        confirmations.add(confirmed)
        await confirmations.mark(connection, now())
        self._marking = not confirmations.failing
        if not left_out and not confirmations and (end := _contiguous_end(rows, confirmed)) is not None:
            floor.published_up_to(end, now())
        self._failing = False
        if rows and not confirmed:
            await asyncio.sleep(RETRY_S)
        elif len(confirmed) == len(rows) < BATCH:
            if not self._wake.is_set():
                self._empty.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_S)

    async def _publish(self, rows: list[OutboxEvent]) -> list[OutboxEvent]:
        loop = asyncio.get_running_loop()
        confirmed = await loop.run_in_executor(self._thread, self._publisher.publish, rows, self._abandon)
        self._resting.tried({row.topic for row in rows}, self._publisher.failed, now())
        for topic, number in CounterOf(row.topic for row in confirmed).items():
            self._published[topic] += number
            EVENTS_PUBLISHED.labels(topic).inc(number)
        return confirmed

    async def _monitor(self) -> None:
        """Refresh the state that `/health` reports, so a health request never asks a server."""
        while True:
            began = time.monotonic()
            try:
                await asyncio.gather(self._probe_broker(), self._count_pending())
            except Exception:
                # The outermost loop: without it `/health` would report its last values for ever.
                log.exception("The state of the broker or of the outbox is not known")
                self._connected = False
            await asyncio.sleep(max(0.1, MONITOR_S - (time.monotonic() - began)))

    async def _probe_broker(self) -> None:
        loop = asyncio.get_running_loop()
        missing = self._publisher.missing
        connected = await loop.run_in_executor(self._probe_thread, self._publisher.broker_answers)
        self._resting.wake(missing - self._publisher.missing)
        if connected != self._connected:
            log.info("The broker %s", "answers" if connected else "does not answer; events wait in the outbox")
        self._connected = connected
        BROKER_CONNECTED.set(connected)

    async def _count_pending(self) -> None:
        try:
            rows = await self._database.fetch(_COUNT, deadline=deadline_after(MONITOR_S))
        except TransientError:
            self._postgres_answers = False
            return
        self._postgres_answers = True
        self._pending = rows[0]["pending"]
        EVENTS_PENDING.set(self._pending)
        OLDEST_EVENT_AGE.set(rows[0]["oldest_s"] or 0)


def _contiguous_end(rows: Sequence[OutboxEvent], confirmed: Sequence[OutboxEvent]) -> int | None:
    """Last sequence up to which all rows are confirmed."""
    done = {row.sequence for row in confirmed}
    before = list(itertools.takewhile(lambda row: row.sequence in done, rows))
    return before[-1].sequence if before else None
