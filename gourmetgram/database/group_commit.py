"""Group commit: whatever arrived while the previous transaction ran is written by one statement in the next one.

One transaction a request is bounded by the disk's commits; this is not, and it adds no waiting: a lone request is
written at once. Each request still gets its own answer, and one that the database refuses fails alone.

What a caller can rely on:

- An answer means that the row is committed.
- `TransientError` means that it is not. Until `COMMIT` is sent the client decides, so giving up rolls back, even
  when the server was frozen. When the answer to `COMMIT` itself is lost, another connection asks PostgreSQL what
  became of the transaction, and looks for a row of it: after a crash, a lost transaction's id may already be
  another's. Only a server that freezes inside a commit for longer than `COMMIT_GRACE_S` leaves the answer open; no
  client of any database can do better.
- A request waits until its deadline and not longer, except for that grace.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import asyncpg
from prometheus_client import Counter, Histogram

from gourmetgram.database.pool import (
    CONNECTION_LOST,
    RETRY_PAUSE_S,
    Connection,
    Database,
    DatabaseRow,
    deadline_after,
    describe,
    now,
)
from gourmetgram.errors import TransientError

log = logging.getLogger(__name__)

MAX_BATCH: Final = 500
MAX_WAITING: Final = 5_000
"""More requests than this in one queue cannot be written within their deadlines: refuse at once."""

LEAST_TIME_S: Final = 0.2
"""A request with less time left is not begun: a batch is allowed no longer than its most impatient member."""

BATCH_LOCK_WAIT_S: Final = 1.2
"""A batch that waits longer for a lock is tried one by one, so that only who touches the locked row is refused."""

SINGLE_LOCK_WAIT_S: Final = 0.3
COMMIT_RESERVE_S: Final = 0.1
COMMIT_GRACE_S: Final = 1.0
_EXPIRY_INTERVAL_S: Final = 0.1
_UNAVAILABLE: Final = "the database did not answer in time"

_BATCHES = Histogram(
    "gourmetgram_group_commit_batch_size",
    "Requests written per transaction",
    ["kind"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
_SECONDS = Histogram("gourmetgram_group_commit_seconds", "Duration of a batch's transaction", ["kind"])
_FAILED = Counter("gourmetgram_group_commit_failed_batches_total", "Batches rolled back", ["kind"])


class Job:
    """One request's row on its way into the database."""

    __slots__ = ("deadline", "future", "row")

    def __init__(self, row: Sequence[object], deadline: float, future: "asyncio.Future[DatabaseRow | None]") -> None:
        self.row = row
        self.deadline = deadline
        self.future = future

    def answer(self, record: DatabaseRow | None) -> None:
        """Hand over the record that the statement returned for this row."""
        if not self.future.done():
            self.future.set_result(record)

    def fail(self, reason: str) -> None:
        """Tell the caller that nothing was written."""
        if not self.future.done():
            self.future.set_exception(TransientError(reason))


class Statement(NamedTuple):
    """Statement that writes a batch.

    Attributes:
        sql: takes one array per column; returns for each row at most one record, with the row's number (from 1) as
            `n`, the transaction's id as text in `xid`, and whether it was written in `written`. It must be safe to
            roll back and repeat.
        proof: a query that finds a row exactly when the statement's transaction was committed.
        proof_columns: the columns of a record that `proof` takes.
    """

    sql: str
    proof: str
    proof_columns: tuple[str, ...]


class GroupCommit:
    """The writer of one kind of row: one connection, one statement, one transaction at a time.

    Args:
        database: where to write.
        kind: name of what is written, for logs and metrics.
        statement: writes it.
        on_commit: called after each commit, on the event loop.
    """

    def __init__(self, database: Database, kind: str, statement: Statement, on_commit: Callable[[], None]) -> None:
        self._database = database
        self._kind = kind
        self._statement = statement
        self._on_commit = on_commit
        self._queue: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._connection: Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._batch_size = _BATCHES.labels(kind)
        self._seconds = _SECONDS.labels(kind)

    async def start(self) -> None:
        """Begin to write."""
        self._idle.set()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._expire())]

    async def stop(self, timeout_s: float = 2.0) -> None:
        """Write what has arrived, then stop; what is left after the time-out fails."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._queue:
            job.fail("the service is stopping")
        self._disconnect()

    def submit(self, row: Sequence[object], deadline: float | None = None) -> "asyncio.Future[DatabaseRow | None]":
        """Queue a row.

        Args:
            row: the values of the statement's columns.
            deadline: on the event loop's clock; WAIT_S from now when None.

        Returns:
            The statement's record for this row once it is committed; None when the statement returned none.
            Fails with TransientError when the row was not written.
        """
        future: asyncio.Future[DatabaseRow | None] = asyncio.get_running_loop().create_future()
        job = Job(row, deadline_after() if deadline is None else deadline, future)
        if len(self._queue) >= MAX_WAITING:
            job.fail("too many requests wait for the database")
            return future
        self._queue.append(job)
        self._idle.clear()
        self._arrived.set()
        return future

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                jobs = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
                try:
                    await self._write(jobs, BATCH_LOCK_WAIT_S if len(jobs) > 1 else None)
                except Exception:
                    # The outermost loop: this writer must outlive a mistake in one batch.
                    log.exception("A batch of %d %s was not written", len(jobs), self._kind)
                    self._disconnect()
                finally:
                    # Requests without an answer by now.
                    for job in jobs:
                        job.fail(_UNAVAILABLE)
            self._idle.set()

    async def _expire(self) -> None:
        """Answer those whose time runs out while another batch is being written."""
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            if self._queue and any(job.deadline - now() < LEAST_TIME_S for job in self._queue):
                self._queue = deque(self._in_time(self._queue))

    def _in_time(self, jobs: Sequence[Job] | deque[Job]) -> list[Job]:
        """The jobs that can still be begun; the others fail now."""
        latest = now() + LEAST_TIME_S
        begun = []
        for job in jobs:
            if job.deadline < latest:
                job.fail(_UNAVAILABLE)
            elif not job.future.done():
                begun.append(job)
        return begun

    async def _write(self, jobs: Sequence[Job], lock_wait_s: float | None) -> None:
        """Write the jobs and answer them; on refusal, one by one."""
        while jobs := self._in_time(jobs):
            try:
                records = await self._transaction(jobs, lock_wait_s)
            except CONNECTION_LOST as error:
                log.warning("Writing %d %s: %s", len(jobs), self._kind, describe(error))
                self._disconnect()
                await asyncio.sleep(RETRY_PAUSE_S)
            except asyncpg.PostgresError as error:
                await self._after_refusal(jobs, error)
                return
            except TransientError as error:
                # Never written a second time: the first may have succeeded.
                log.error("Writing %d %s: %s", len(jobs), self._kind, error)
                return
            else:
                self._answer(jobs, records)
                return

    async def _after_refusal(self, jobs: Sequence[Job], error: asyncpg.PostgresError) -> None:
        _FAILED.labels(self._kind).inc()
        log.warning("PostgreSQL refused %d %s: %s", len(jobs), self._kind, describe(error))
        if len(jobs) == 1:
            jobs[0].fail(describe(error))
            return
        for job in jobs:
            await self._write([job], SINGLE_LOCK_WAIT_S)

    def _answer(self, jobs: Sequence[Job], records: Sequence[DatabaseRow]) -> None:
        for record in records:
            jobs[record["n"] - 1].answer(record)
        for job in jobs:
            job.answer(None)
        self._batch_size.observe(len(jobs))

    async def _transaction(self, jobs: Sequence[Job], lock_wait_s: float | None) -> Sequence[DatabaseRow]:
        """Write the jobs in one transaction and return the statement's records once they are committed."""
        deadline = min(job.deadline for job in jobs)
        begin = now()
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(deadline)
        connection = self._connection
        left_s = max(0.02, deadline - now() - COMMIT_RESERVE_S)
        limit_ms = round(left_s * 1000)
        lock_ms = min(limit_ms, round((lock_wait_s or left_s) * 1000))
        await connection.execute(
            f"BEGIN; SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {lock_ms}", timeout=left_s
        )
        try:
            # PostgreSQL's own limit should come first: its answer leaves the connection usable.
            records: Sequence[DatabaseRow] = await connection.fetch(
                self._statement.sql, *zip(*(job.row for job in jobs), strict=True), timeout=left_s + COMMIT_RESERVE_S
            )
        except asyncpg.PostgresError:
            await connection.execute("ROLLBACK", timeout=COMMIT_RESERVE_S)
            raise
        await self._commit(connection, records, deadline)
        self._on_commit()
        self._seconds.observe(now() - begin)
        return records

    async def _commit(self, connection: Connection, records: Sequence[DatabaseRow], deadline: float) -> None:
        """Commit; when the answer is lost, find out what became of the transaction.

        Raises:
            one of CONNECTION_LOST: it was rolled back, or its end could not be learned in time.
        """
        try:
            await connection.execute("COMMIT", timeout=max(0.02, deadline - now()))
        except CONNECTION_LOST as error:
            self._disconnect()
            written = [record for record in records if record["written"]]
            if not written or await self._was_committed(written[-1], deadline + COMMIT_GRACE_S):
                return
            raise ConnectionError(f"the commit did not succeed: {describe(error)}") from error

    async def _was_committed(self, record: DatabaseRow, deadline: float) -> bool:
        """Find out how a record's transaction ended, while it may still be under way."""
        while now() + RETRY_PAUSE_S < deadline:
            status = await self._transaction_status(record["xid"], deadline)
            if status == "committed":
                values = [record[column] for column in self._statement.proof_columns]
                return bool(await self._database.fetch(self._statement.proof, *values, deadline=deadline))
            if status != "in progress":
                return False
            await asyncio.sleep(RETRY_PAUSE_S)
        raise TransientError("the end of a commit is unknown")

    async def _transaction_status(self, xid: str, deadline: float) -> str:
        try:
            rows = await self._database.fetch("SELECT pg_xact_status($1::text::xid8) AS status", xid, deadline=deadline)
        except TransientError as error:
            if isinstance(error.__cause__, asyncpg.InvalidParameterValueError):
                # "In the future": the server crashed and does not remember having given this id.
                return "aborted"
            raise
        return str(rows[0]["status"])

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
