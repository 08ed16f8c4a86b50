"""Writes with an idempotency key: the row, its event and the answer to it are one transaction.

Steps of one request (docs/decisions/idempotency-keys.md):

1. The key's lock, for the whole request. The lock belongs to a session of PostgreSQL, so it ends with its process.
2. The stored answer of the key, if there is one. It is repeated, and nothing is written.
3. The work of the route. Its statement begins a transaction.
4. The answer, stored under the key in the same transaction; then COMMIT, and the lock is given back.

A connection that is lost on the way leads to a new attempt from step 1. When the lost attempt was committed, step 2
finds its answer. So a lost answer to COMMIT needs no other proof.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

import asyncpg
from starlette.responses import Response

from api_v1.background import BackgroundTask
from api_v1.errors import ApiError, InvalidInputError, answer_to
from gourmetgram.database.group_commit import COMMIT_RESERVE_S, GroupCommit, begin, left_s
from gourmetgram.database.pool import (
    CONNECTION_LOST,
    RETRY_PAUSE_S,
    WAIT_S,
    Connection,
    Database,
    DatabaseRow,
    deadline_after,
    describe,
    now,
)
from gourmetgram.errors import OutcomeUnknownError, TransientError

log = logging.getLogger(__name__)

HEADER: Final = "Idempotency-Key"
REPEATED_HEADER: Final = "Idempotency-Replayed"
"""Header of an answer that was stored by an earlier request with the same key."""

KEPT_S: Final = 86_400.0
"""Time for which an answer is repeated, seconds."""

_LOCK: Final = "SELECT pg_try_advisory_lock($1)"
_FREE: Final = "SELECT pg_advisory_unlock_all()"
_STORED: Final = """
SELECT fingerprint, status, body FROM idempotency_keys
WHERE key = $1 AND created_at > clock_timestamp() - make_interval(secs => $2)
"""
# A key that is older than its time is as good as new.
_STORE: Final = """
INSERT INTO idempotency_keys AS kept (key, fingerprint, status, body) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, status = EXCLUDED.status, body = EXCLUDED.body, created_at = EXCLUDED.created_at
WHERE kept.created_at <= clock_timestamp() - make_interval(secs => $5)
RETURNING key
"""
_PRUNE: Final = """
DELETE FROM idempotency_keys WHERE key = ANY(ARRAY(
    SELECT key FROM idempotency_keys WHERE created_at <= clock_timestamp() - make_interval(secs => $1)
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING key
"""


class InFlightError(ApiError):
    """Another request with the same key has not ended yet."""

    status = 409


class CommitLostError(ConnectionError):
    """The connection was lost while COMMIT was in flight."""


class Writes(Protocol):
    """Ways of one request to the database."""

    @property
    def in_doubt(self) -> bool:
        """True while the end of the request's transaction is not known."""

    def submit(
        self, writer: GroupCommit, row: Sequence[object], deadline: float | None = None
    ) -> Awaitable[DatabaseRow | None]:
        """Write a row. Arguments, result and errors are those of `GroupCommit.submit`."""

    def fetch(self, sql: str, *arguments: object, deadline: float) -> Awaitable[Sequence[DatabaseRow]]:
        """Read rows; a row that this request has submitted is among them."""

    async def finish(self, response: Response) -> Response:
        """End the request with this answer. A second call changes nothing."""


Work = Callable[[Writes], Awaitable[Response]]
"""The part of a route that writes. It may run again, after an attempt that wrote nothing."""


class SharedWrites:
    """Writes of requests without a key: they share transactions (gourmetgram/database/group_commit.py).

    Args:
        database: where to read.
    """

    in_doubt = False

    def __init__(self, database: Database) -> None:
        self.fetch = database.fetch

    def submit(
        self, writer: GroupCommit, row: Sequence[object], deadline: float | None = None
    ) -> "asyncio.Future[DatabaseRow | None]":
        """Queue the row."""
        return writer.submit(row, deadline)

    async def finish(self, response: Response) -> Response:
        """Return the answer: the rows are committed."""
        return response


class KeyedWrites:
    """Writes of one attempt of a request with a key: a transaction of its own.

    Args:
        connection: a connection that holds the key's lock.
        key: the idempotency key.
        fingerprint: SHA-256 of the request, 32 bytes.
        deadline: end of the attempt on the event loop's clock; `submit` may set a later one.
        on_commit: called after the commit.
    """

    def __init__(
        self, connection: Connection, key: str, fingerprint: bytes, deadline: float, on_commit: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._key = key
        self._fingerprint = fingerprint
        self._deadline = deadline
        self._on_commit = on_commit
        self._done = False
        self.began = False
        """True once a statement that writes was sent."""
        self.in_doubt = False

    async def submit(
        self, writer: GroupCommit, row: Sequence[object], deadline: float | None = None
    ) -> DatabaseRow | None:
        """Write the row with the statement of its writer; `finish` commits it."""
        if deadline is not None:
            self._deadline = deadline
        await self._begin()
        records = await self.fetch(writer.statement.sql, *([value] for value in row), deadline=self._deadline)
        return records[0] if records else None

    async def fetch(self, sql: str, *arguments: object, deadline: float) -> Sequence[DatabaseRow]:
        """Run a statement in the transaction, if there is one already."""
        records: Sequence[DatabaseRow] = await self._connection.fetch(sql, *arguments, timeout=left_s(deadline))
        return records

    async def finish(self, response: Response) -> Response:
        """Store the answer with the row, and commit both."""
        if self._done:
            return response
        await self._begin()
        body = bytes(response.body).decode()
        values = (self._key, self._fingerprint, response.status_code, body, KEPT_S)
        if not await self.fetch(_STORE, *values, deadline=self._deadline):
            # Possible only when the lock was lost on the way: the next attempt finds the answer that is stored.
            raise ConnectionError("another request has stored an answer under the same key")
        self.in_doubt = True
        await self._connection.execute("COMMIT", timeout=left_s(self._deadline))
        self.in_doubt, self._done = False, True
        self._on_commit()
        return response

    async def _begin(self) -> None:
        if self.began:
            return
        self.began = True
        await begin(self._connection, left_s(self._deadline - COMMIT_RESERVE_S))


class KeyedWriter:
    """Runs each request with a key once, whichever API process receives it, and repeats its answer for `KEPT_S`.

    Args:
        database: connections for these requests alone: an upload keeps one until its picture is stored.
        on_commit: called after each commit, on the event loop.
    """

    def __init__(self, database: Database, on_commit: Callable[[], None]) -> None:
        self._database = database
        self._on_commit = on_commit

    async def start(self) -> None:
        """Start to serve, without a connection."""
        await self._database.start()

    async def stop(self, timeout_s: float) -> None:
        """Close the connections, within the time-out."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._database.stop(), timeout_s)

    async def answer_once(self, key: str, fingerprint: bytes, work: Work) -> Response:
        """Do the work and store its answer, or repeat the stored one.

        Raises:
            ApiError: the request was refused before it could write; or the key belongs to another request (422), or to
                a request in flight (409).
            OutcomeUnknownError: a COMMIT was sent, and its outcome was not found in time.
            TransientError: a store is away or too slow. Nothing was stored.
        """
        deadline, lost = deadline_after(), None
        failure: type[TransientError] = TransientError
        while True:
            try:
                return await self._attempt(key, fingerprint, work, deadline)
            except InFlightError:
                # After a lost connection, the lock may still be that of this request's own dead session.
                if lost is None:
                    raise
            except CONNECTION_LOST as error:
                lost = error
                if isinstance(error, CommitLostError):
                    failure = OutcomeUnknownError
            except asyncpg.PostgresError as error:
                raise failure(f"the database did not run the statement: {describe(error)}") from error
            except TransientError as error:
                raise failure(str(error)) from error
            if now() + RETRY_PAUSE_S >= deadline:
                raise failure(f"the database is not available: {describe(lost)}") from lost
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _attempt(self, key: str, fingerprint: bytes, work: Work, deadline: float) -> Response:
        async with self._locked(key, deadline) as (connection, is_alone):
            stored = await connection.fetchrow(_STORED, key, KEPT_S, timeout=left_s(deadline))
            if stored is not None:
                return _repeated(stored, fingerprint)
            if not is_alone:
                raise InFlightError(f"A request with this {HEADER} is in progress. Send it again in a second.")
            writes = KeyedWrites(connection, key, fingerprint, deadline, self._on_commit)
            try:
                try:
                    response = await work(writes)
                except ApiError as error:
                    if not writes.began:
                        raise
                    response = answer_to(error)
                return await writes.finish(response)
            except CONNECTION_LOST as error:
                if writes.in_doubt:
                    raise CommitLostError(describe(error)) from error
                raise

    @asynccontextmanager
    async def _locked(self, key: str, deadline: float) -> AsyncIterator[tuple[Connection, bool]]:
        """A connection, and whether it holds the key's lock now."""
        async with self._database.connection(deadline) as connection:
            try:
                is_alone = await connection.fetchval(_LOCK, _lock_number(key), timeout=left_s(deadline))
                yield connection, is_alone
            finally:
                if not connection.is_closed():
                    undo = "ROLLBACK; " if connection.is_in_transaction() else ""
                    await connection.execute(undo + _FREE, timeout=COMMIT_RESERVE_S)


def _repeated(stored: DatabaseRow, fingerprint: bytes) -> Response:
    if stored["fingerprint"] != fingerprint:
        raise header_error("The key was used for another request. Each request needs a key of its own.")
    return Response(stored["body"], stored["status"], {REPEATED_HEADER: "true"}, "application/json")


def header_error(sentence: str) -> InvalidInputError:
    """One problem with the key."""
    return InvalidInputError([{"loc": ["header", HEADER], "msg": sentence, "type": "value_error"}])


def _lock_number(key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{HEADER} {key}".encode()).digest()[:8], "big", signed=True)


class KeyPruner(BackgroundTask):
    """Deletes answers that are older than `KEPT_S`. Any number of processes may do so at the same time.

    Args:
        database: database with the answers.
    """

    EVERY_S: Final = 600.0
    AT_ONCE: Final = 1_000

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def prune(self) -> None:
        """Delete all answers that are too old.

        Raises:
            TransientError: the database is away or too slow. Some of them may be gone.
        """
        while len(await self._database.fetch(_PRUNE, KEPT_S, self.AT_ONCE, deadline=deadline_after(WAIT_S))):
            pass

    async def _run(self) -> None:
        while True:
            try:
                await self.prune()
            except TransientError as error:
                log.warning("Old idempotency keys were not deleted; the next attempt follows: %s", error)
            await asyncio.sleep(self.EVERY_S)
