"""Asynchronous access to PostgreSQL for the APIs: asyncpg itself, and a deadline on everything.

asyncpg without an ORM doubles the requests per second, measured on one machine (docs/decisions/).
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from gourmetgram.errors import SettingsError, TransientError
from gourmetgram.settings import PostgresSettings

log = logging.getLogger(__name__)

WAIT_S: Final = 1.9
"""Longest wait of a request for the database in all. Rule 37 of docs/rules.md allows 2 s; the rest is for the answer.
"""

RETRY_PAUSE_S: Final = 0.05
"""Pause between attempts to reach a server that is starting."""

CONNECTION_LOST: Final = (
    OSError,  # TimeoutError included: a server that does not answer in time is treated as gone
    asyncpg.InterfaceError,  # "connection is closed" and related errors
    asyncpg.InternalClientError,  # the server died in the middle of a message
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""The statement did not run, or its transaction was rolled back; a new connection may help."""

Connection: TypeAlias = Any
"""An asyncpg connection; the library has no type hints."""

DatabaseRow: TypeAlias = Any
"""An asyncpg record: columns by name."""

T = TypeVar("T")


_LIBPQ_ALONE: Final = frozenset(
    (
        *("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle", "keepalives_interval"),
        *("keepalives_count", "client_encoding", "fallback_application_name", "sslcompression", "sslsni"),
        *("gssencmode", "channel_binding"),
    )
)
"""Parameters of a URL that asyncpg would send to the server, which refuses them; this module has its own deadlines."""
_PROTECTIONS: Final = ("gssencmode=require", "channel_binding=require")
"""Protections by libpq that asyncpg cannot give."""


def asyncpg_address(url: str) -> dict[str, Any]:
    """Arguments of asyncpg for a libpq URL: some of its parameters are libpq's own.

    Raises:
        SettingsError: the URL asks for a protection that asyncpg cannot give.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    refused = [f"{name}={value}" for name, value in query if f"{name}={value}" in _PROTECTIONS]
    if refused:
        raise SettingsError(
            f"DATABASE_URL: the APIs cannot keep {', '.join(refused)}. Use sslmode=verify-full, which proves the "
            "server's identity, and leave the parameter out."
        )
    kept = [(name, value) for name, value in query if name not in _LIBPQ_ALONE]
    # libpq's word for the authorities of the operating system; asyncpg would look for a file of that name.
    system = ("sslrootcert", "system")
    context = {"ssl": ssl.create_default_context()} if system in kept else {}
    return {"dsn": urlunsplit(parts._replace(query=urlencode([p for p in kept if p != system]))), **context}


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that skips the reset of session state after each use: no statement here changes session state."""

    def get_reset_query(self) -> str:
        return ""


def now() -> float:
    """The event loop's clock, in seconds; deadlines are compared with it."""
    return asyncio.get_running_loop().time()


def deadline_after(seconds: float = WAIT_S) -> float:
    """The deadline of a wait that begins now."""
    return now() + seconds


class Database:
    """A pool for short statements, and single connections for long-lived writers.

    Nothing connects before it is needed, so a service starts while PostgreSQL is away.

    Args:
        settings: where the database is.
        application_name: shown in pg_stat_activity.
        pool_size: largest number of connections in the pool.
    """

    def __init__(self, settings: PostgresSettings, application_name: str, pool_size: int = 8) -> None:
        self._pool_size = pool_size
        self._pool: Any = None
        self._options: dict[str, Any] = {
            **asyncpg_address(settings.database_url),
            "connection_class": _Connection,
            "server_settings": {
                "application_name": application_name,
                "timezone": "UTC",
                "statement_timeout": str(round(WAIT_S * 1000)),
                "lock_timeout": str(round(WAIT_S * 1000)),
                # A process that stops inside a transaction must not hold its locks for ever.
                "idle_in_transaction_session_timeout": "5000",
                # The server ends the session of a client that vanished, and with it the lock of a relay, in 15 seconds.
                "tcp_keepalives_idle": "5",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "2",
                "jit": "off",
                # Statements take arrays, so one plan fits all calls: plan once per connection.
                "plan_cache_mode": "force_generic_plan",
                # The plan is made when tables may still be empty, and kept when they have grown. Sequential scans are
                # off, because every statement here uses an index. A scan that looked cheap on an empty table would
                # later cost 50 ms a batch.
                "enable_seqscan": "off",
                "enable_hashjoin": "off",
                "enable_mergejoin": "off",
            },
        }

    async def start(self) -> None:
        """Prepare the pool, without a connection."""
        self._pool = await asyncpg.create_pool(min_size=0, max_size=self._pool_size, **self._options)

    async def stop(self) -> None:
        """Close the pool's connections, without waiting for a server that does not answer."""
        self._pool.terminate()

    async def connect(self, deadline: float) -> Connection:
        """Open a connection outside the pool; the caller closes it.

        Raises:
            one of CONNECTION_LOST, or asyncpg.PostgresError.
        """
        return await asyncpg.connect(timeout=max(0.01, deadline - now()), **self._options)

    async def fetch(self, sql: str, *arguments: object, deadline: float | None = None) -> Sequence[DatabaseRow]:
        """Run a statement that may be repeated (a read, or an insert that ignores conflicts), in its own transaction.

        A dead connection or a server that is starting leads to further attempts until the deadline.

        Raises:
            TransientError: the database is away or too slow.
        """

        def fetched(connection: Connection, timeout_s: float) -> Awaitable[Sequence[DatabaseRow]]:
            return connection.fetch(sql, *arguments, timeout=timeout_s)  # type: ignore[no-any-return]

        return await self._repeated(fetched, deadline_after() if deadline is None else deadline)

    async def execute(self, script: str) -> None:
        """Run several statements that may be repeated, as one transaction.

        They travel in one message, so PostgreSQL runs them as one transaction. It never waits for this process between
        them: locks are not held longer when this process is busy, frozen or gone.

        Args:
            script: statements with semicolons between them, without BEGIN and COMMIT.

        Raises:
            TransientError: the database is away or too slow, or a lock was not free in time.
        """

        def executed(connection: Connection, timeout_s: float) -> Awaitable[object]:
            return connection.execute(script, timeout=timeout_s)  # type: ignore[no-any-return]

        await self._repeated(executed, deadline_after())

    async def _repeated(self, call: Callable[[Connection, float], Awaitable[T]], until: float) -> T:
        while True:
            try:
                async with self.connection(until) as connection:
                    return await call(connection, max(0.01, until - now()))
            except CONNECTION_LOST as error:
                # A certificate is as wrong at the next attempt, which would hide it behind a time-out.
                if isinstance(error, ssl.SSLCertVerificationError) or now() + RETRY_PAUSE_S >= until:
                    raise TransientError(f"the database is not available: {describe(error)}") from error
            except asyncpg.PostgresError as error:
                raise TransientError(f"the database did not run the statement: {describe(error)}") from error
            await asyncio.sleep(RETRY_PAUSE_S)

    @asynccontextmanager
    async def connection(self, deadline: float) -> AsyncIterator[Connection]:
        """Borrow a connection of the pool. It must come back without a transaction, a lock or another setting.

        Raises:
            one of CONNECTION_LOST: there is no connection before the deadline.
        """
        connection = await self._pool.acquire(timeout=max(0.01, deadline - now()))
        try:
            yield connection
        except (OSError, asyncio.CancelledError):
            # The statement still runs: returning the connection to the pool would wait for a server that may be frozen.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)


def describe(error: BaseException) -> str:
    """Text of an error for the log, with its class, because time-outs have no text."""
    return f"{type(error).__name__} {error}".strip()
