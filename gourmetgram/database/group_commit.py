"""Group commit: requests that arrive during one transaction are written by one statement in the next transaction.

With one transaction a request, the disk's commits limit the throughput; a group shares one commit. A single request is
written at once, without waiting for others. Each request gets its own answer, and a row that the database refuses fails
alone.

Guarantees to a caller:

- An answer means that the row is committed.
- `TransientError` means that the row is not committed. Until `COMMIT` is sent, the client decides: giving up rolls
  back, even when the server is frozen.
- `OutcomeUnknownError` means that the row may be committed. When the answer to `COMMIT` is lost, another connection
  asks PostgreSQL for the outcome of the transaction. It stays unknown if the server is away for longer than
  `COMMIT_GRACE_S`, if this process stops first, or if the server crashed and no row can prove the outcome.
- A request waits until its deadline, plus that grace at most.
- A row that another transaction has locked delays only requests for this row (row_locks.py).
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
from gourmetgram.database.row_locks import LockedRows, RowLocks
from gourmetgram.errors import OutcomeUnknownError, TransientError

log = logging.getLogger(__name__)

MAX_BATCH: Final = 500
MAX_WAITING: Final = 5_000
"""Limit of one queue. More requests cannot be written within their deadlines, so they are refused at once."""

LEAST_TIME_S: Final = 0.2
"""A request with less time left is not begun: the shortest deadline of a batch limits the whole batch."""

BATCH_LOCK_WAIT_S: Final = 1.2
"""Longest wait of a batch for a lock. After it the rows are tried one by one, so only requests for the locked row fail.
"""

ROW_LOCK_WAIT_S: Final = 0.2
"""Longest wait of a batch for a lock before it is asked which rows are locked: the batches of another process are done
by then."""

SINGLE_LOCK_WAIT_S: Final = 0.3
COMMIT_RESERVE_S: Final = 0.1
COMMIT_GRACE_S: Final = 1.0
_EXPIRY_INTERVAL_S: Final = 0.1
_UNAVAILABLE: Final = "the database did not answer in time"

SERVER_RUN: Final = "SELECT stats_reset FROM pg_stat_wal"
"""Changes with each crash of the server, which loses its statistics. Only a crash gives the id of a lost transaction to
another one."""

_STATUS: Final = "SELECT pg_xact_status($1::text::xid8) AS status, stats_reset FROM pg_stat_wal"

_BATCHES = Histogram(
    "gourmetgram_group_commit_batch_size",
    "Requests written per transaction",
    ["kind"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
_SECONDS = Histogram("gourmetgram_group_commit_seconds", "Duration of a batch's transaction", ["kind"])
_FAILED = Counter("gourmetgram_group_commit_failed_batches_total", "Batches rolled back", ["kind"])


def left_s(deadline: float) -> float:
    """Seconds until a time on the event loop's clock, as a time-out: never less than a short moment."""
    return max(0.02, deadline - now())


async def begin(connection: Connection, limit_s: float, lock_wait_s: float | None = None) -> None:
    """Begin a transaction whose statements end in time.

    Args:
        connection: connection without a transaction.
        limit_s: longest time of a statement, seconds.
        lock_wait_s: longest wait for a lock; None = as long as a statement.
    """
    limit_ms = round(limit_s * 1000)
    lock_ms = min(limit_ms, round((lock_wait_s or limit_s) * 1000))
    await connection.execute(
        f"BEGIN; SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {lock_ms}", timeout=limit_s
    )


class Job:
    """One request's row, queued or in flight."""

    __slots__ = ("committing", "deadline", "future", "row")

    def __init__(self, row: Sequence[object], deadline: float, future: "asyncio.Future[DatabaseRow | None]") -> None:
        self.row = row
        self.deadline = deadline
        self.future = future
        self.committing = False
        """True from the moment in which COMMIT is sent, until its outcome is known."""

    def answer(self, record: DatabaseRow | None) -> None:
        """Complete the request with the record that the statement returned for this row."""
        if not self.future.done():
            self.future.set_result(record)

    def fail(self, reason: str) -> None:
        """Fail the request: nothing was written, or, once COMMIT was sent, the outcome is unknown."""
        if not self.future.done():
            error = OutcomeUnknownError if self.committing else TransientError
            self.future.set_exception(error(reason))


class Statement(NamedTuple):
    """Statement that writes a batch.

    Attributes:
        sql: takes one array per column; returns for each row at most one record, with the row's number (from 1) as
            `n`, the transaction's id as text in `xid`, and in `written` true for a written row. It must be safe to
            roll back and repeat.
        proof: a query that takes a record's `id`, and finds a row exactly when the statement's transaction was
            committed. None when there is no such row: then the outcome of a commit during a crash stays unknown.
        locks: the rows for which a request may have to wait; None when there are none.
    """

    sql: str
    proof: str | None
    locks: RowLocks | None = None


class GroupCommit:
    """The writer of one kind of row: one connection, one statement, one transaction at a time.

    Args:
        database: where to write.
        kind: name of the rows, for logs and metrics.
        statement: statement that writes a batch.
        on_commit: called after each commit, on the event loop.
    """

    def __init__(self, database: Database, kind: str, statement: Statement, on_commit: Callable[[], None]) -> None:
        self._database = database
        self._kind = kind
        self.statement = statement
        self._on_commit = on_commit
        self._queue: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._connection: Connection | None = None
        self._server_run: object = None
        self._locked = LockedRows(database, statement.locks, self._arrived.set) if statement.locks else None
        """Locked rows, whose requests stay in the queue."""
        self._tasks: list[asyncio.Task[None]] = []
        self._batch_size = _BATCHES.labels(kind)
        self._seconds = _SECONDS.labels(kind)

    async def start(self) -> None:
        """Start the writer."""
        self._idle.set()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._expire())]
        if self._locked is not None:
            self._tasks.append(asyncio.create_task(self._locked.watch()))

    async def stop(self, timeout_s: float = 2.0) -> None:
        """Write the queued rows, then stop; rows that are left after the time-out fail."""
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
            Fails with TransientError when the row was not written, and with OutcomeUnknownError when it may be.
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
            while jobs := self._next_batch():
                try:
                    await self._write_batch(jobs)
                except BaseException as error:
                    self._disconnect()
                    for job in jobs:
                        job.fail(_UNAVAILABLE)
                    if not isinstance(error, Exception):
                        raise
                    # The outermost loop: the writer must survive a programming error in one batch.
                    log.exception("A batch of %d %s was not written", len(jobs), self._kind)
            if not self._queue:
                self._idle.set()

    def _next_batch(self) -> list[Job]:
        """Take the oldest jobs from the queue. Those of locked rows stay there."""
        if not self._locked:
            return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
        batch: list[Job] = []
        left: deque[Job] = deque()
        for job in self._queue:
            fits = len(batch) < MAX_BATCH and not self._locked.concern(job.row)
            (batch if fits else left).append(job)
        self._queue = left
        return batch

    async def _expire(self) -> None:
        """Fail the queued requests whose deadline passes while another batch is being written."""
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            if self._queue and any(job.deadline - now() < LEAST_TIME_S for job in self._queue):
                self._queue = deque(self._in_time(self._queue))
                self._arrived.set()

    def _in_time(self, jobs: Sequence[Job] | deque[Job]) -> list[Job]:
        """Select the jobs that have enough time left; the others fail now."""
        latest = now() + LEAST_TIME_S
        begun = []
        for job in jobs:
            if job.deadline < latest:
                job.fail(_UNAVAILABLE)
            elif not job.future.done():
                begun.append(job)
        return begun

    async def _write_batch(self, jobs: Sequence[Job]) -> None:
        """Write the jobs and answer them; jobs of locked rows go back to the queue."""
        if self._locked is not None:
            jobs = await self._write(jobs, ROW_LOCK_WAIT_S)
            while jobs and await self._locked.find(job.row for job in jobs):
                self._queue.extendleft(reversed([job for job in jobs if self._locked.concern(job.row)]))
                jobs = await self._write([job for job in jobs if not self._locked.concern(job.row)], ROW_LOCK_WAIT_S)
        # Now only a lock on a whole table can be in the way.
        refused = await self._write(jobs, BATCH_LOCK_WAIT_S if len(jobs) > 1 else None)
        if len(refused) > 1:
            refused = [left for job in refused for left in await self._write([job], SINGLE_LOCK_WAIT_S)]
        for job in refused:
            job.fail(_UNAVAILABLE)

    async def _write(self, jobs: Sequence[Job], lock_wait_s: float | None) -> Sequence[Job]:
        """Write the jobs in one transaction and answer them.

        Returns:
            The jobs without an answer: all of them, when PostgreSQL refused the transaction; else none.
        """
        while jobs := self._in_time(jobs):
            try:
                records = await self._transaction(jobs, lock_wait_s)
            except CONNECTION_LOST as error:
                log.warning("Writing %d %s: %s", len(jobs), self._kind, describe(error))
                self._disconnect()
                await asyncio.sleep(RETRY_PAUSE_S)
            except asyncpg.PostgresError as error:
                _FAILED.labels(self._kind).inc()
                log.warning("PostgreSQL refused %d %s: %s", len(jobs), self._kind, describe(error))
                return jobs
            except TransientError as error:
                # Never retried: the first attempt may have succeeded.
                log.error("Writing %d %s: %s", len(jobs), self._kind, error)
                for job in jobs:
                    job.fail(str(error))
            else:
                self._answer(jobs, records)
                break
        return ()

    def _answer(self, jobs: Sequence[Job], records: Sequence[DatabaseRow]) -> None:
        for record in records:
            jobs[record["n"] - 1].answer(record)
        for job in jobs:
            job.answer(None)
        self._batch_size.observe(len(jobs))

    async def _transaction(self, jobs: Sequence[Job], lock_wait_s: float | None) -> Sequence[DatabaseRow]:
        """Write the jobs in one transaction and return the statement's records once they are committed."""
        deadline = min(job.deadline for job in jobs)
        began = now()
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(deadline)
            self._server_run = await self._connection.fetchval(SERVER_RUN, timeout=left_s(deadline))
        connection = self._connection
        limit_s = left_s(deadline - COMMIT_RESERVE_S)
        await begin(connection, limit_s, lock_wait_s)
        try:
            # PostgreSQL's own time-out should come first: its answer leaves the connection usable.
            records: Sequence[DatabaseRow] = await connection.fetch(
                self.statement.sql, *zip(*(job.row for job in jobs), strict=True), timeout=limit_s + COMMIT_RESERVE_S
            )
        except asyncpg.PostgresError:
            await connection.execute("ROLLBACK", timeout=COMMIT_RESERVE_S)
            raise
        await self._commit(connection, jobs, records, deadline)
        self._on_commit()
        self._seconds.observe(now() - began)
        return records

    async def _commit(
        self, connection: Connection, jobs: Sequence[Job], records: Sequence[DatabaseRow], deadline: float
    ) -> None:
        """Commit; when the answer is lost, find the outcome of the transaction.

        Raises:
            one of CONNECTION_LOST, asyncpg.PostgresError: the transaction was rolled back.
            TransientError: its outcome stayed unknown until the deadline.
        """
        for job in jobs:
            job.committing = True
        try:
            await connection.execute("COMMIT", timeout=left_s(deadline))
            return
        except CONNECTION_LOST as error:
            self._disconnect()
            written = [record for record in records if record["written"]]
            if not written or await self._was_committed(written[-1], deadline + COMMIT_GRACE_S):
                return
            lost: Exception = ConnectionError(f"the commit did not succeed: {describe(error)}")
        except asyncpg.PostgresError as error:
            lost = error
        for job in jobs:
            job.committing = False
        raise lost

    async def _was_committed(self, record: DatabaseRow, deadline: float) -> bool:
        """Find the outcome of a record's transaction, which may still be in progress.

        Raises:
            TransientError: the outcome is unknown.
        """
        while now() + RETRY_PAUSE_S < deadline:
            status, server_run = await self._transaction_status(record["xid"], deadline)
            if status == "committed":
                if server_run == self._server_run:
                    return True
                if self.statement.proof is None:
                    break
                return bool(await self._database.fetch(self.statement.proof, record["id"], deadline=deadline))
            if status != "in progress":
                return False
            await asyncio.sleep(RETRY_PAUSE_S)
        raise TransientError("the end of a commit is unknown")

    async def _transaction_status(self, xid: str, deadline: float) -> tuple[str, object]:
        """Status of a transaction, and the present run of the server."""
        try:
            rows = await self._database.fetch(_STATUS, xid, deadline=deadline)
        except TransientError as error:
            if isinstance(error.__cause__, asyncpg.InvalidParameterValueError):
                # "In the future": the server crashed and has no memory of this id.
                return "aborted", None
            raise
        return str(rows[0]["status"]), rows[0]["stats_reset"]

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
