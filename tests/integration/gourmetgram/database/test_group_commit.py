"""Group commit on a real PostgreSQL: own answers, isolation of failures, deadlines, and nothing half done."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from gourmetgram.database.group_commit import GroupCommit, Statement
from gourmetgram.database.pool import Database, deadline_after, now
from gourmetgram.errors import OutcomeUnknownError, TransientError
from gourmetgram.settings import PostgresSettings
from tests.support.proxy import Proxy, proxy_to, through
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers

SQL = """
WITH wanted AS (SELECT * FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS w(name, value, n)),
new AS (INSERT INTO notes (name, value) SELECT name, value FROM wanted WHERE value >= 0 ORDER BY n RETURNING name)
SELECT n, pg_current_xact_id()::text AS xid, TRUE AS written, w.name AS id, w.name || '!' AS echo
FROM wanted AS w JOIN new USING (name)
"""
STATEMENT = Statement(SQL, "SELECT FROM notes WHERE name = $1")


@pytest.fixture
async def observer(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that looks at what was written."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value INTEGER CHECK (value < 100))"
    )
    await connection.execute("TRUNCATE notes")
    yield connection
    await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The platform's database access."""
    database = Database(PostgresSettings(database_url=database_url), "test_group_commit")
    await database.start()
    yield database
    await database.stop()


@pytest.fixture
async def commits() -> list[float]:
    """When each commit was announced."""
    return []


@pytest.fixture
async def writer(database: Database, observer: asyncpg.Connection, commits: list[float]) -> AsyncIterator[GroupCommit]:
    """A writer of notes."""
    writer = GroupCommit(database, "notes", STATEMENT, lambda: commits.append(now()))
    await writer.start()
    yield writer
    await writer.stop()


async def _lock_notes(observer: asyncpg.Connection) -> asyncpg.transaction.Transaction:
    lock = observer.transaction()
    await lock.start()
    await observer.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
    return lock


def _echo(answer: asyncpg.Record | None) -> str:
    assert answer is not None
    return str(answer["echo"])


async def test_each_row_gets_its_own_answer_and_rows_share_transactions(
    writer: GroupCommit, observer: asyncpg.Connection, commits: list[float]
) -> None:
    answers = await asyncio.gather(*(writer.submit((f"n{number}", number)) for number in range(90)))
    assert [_echo(answer) for answer in answers] == [f"n{number}!" for number in range(90)]
    transactions = await observer.fetchval("SELECT count(DISTINCT xmin::text) FROM notes")
    assert transactions == len(commits) < 5


async def test_a_row_without_a_record_is_answered_with_none(writer: GroupCommit) -> None:
    kept, dropped = await asyncio.gather(writer.submit(("kept", 1)), writer.submit(("dropped", -1)))
    assert _echo(kept) == "kept!"
    assert dropped is None


async def test_one_row_that_the_database_refuses_fails_alone(writer: GroupCommit, observer: asyncpg.Connection) -> None:
    rows = [("a", 1), ("too large", 100), ("b", 2), ("a", 3), ("c", 4)]
    answers = await asyncio.gather(*(writer.submit(row) for row in rows), return_exceptions=True)
    assert [isinstance(answer, TransientError) for answer in answers] == [False, True, False, True, False]
    assert [row["name"] for row in await observer.fetch("SELECT name FROM notes ORDER BY name")] == ["a", "b", "c"]


async def test_a_lock_of_a_second_delays_and_refuses_nobody(writer: GroupCommit, observer: asyncpg.Connection) -> None:
    lock = await _lock_notes(observer)
    waiting = [writer.submit((f"w{number}", number)) for number in range(30)]
    asyncio.get_running_loop().call_later(1.0, lambda: asyncio.ensure_future(lock.rollback()))
    answers = await asyncio.gather(*waiting)
    assert len(answers) == 30


async def test_a_lock_that_stays_is_answered_within_two_seconds_and_leaves_no_row(
    writer: GroupCommit, observer: asyncpg.Connection
) -> None:
    lock = await _lock_notes(observer)
    began = time.monotonic()
    first = [writer.submit((f"f{number}", number)) for number in range(3)]
    await asyncio.sleep(0)  # lets the first batch begin, so that the others queue behind it
    later = [writer.submit((f"l{number}", number)) for number in range(3)]
    answers = await asyncio.gather(*first, *later, return_exceptions=True)
    assert time.monotonic() - began < 2.0
    assert all(isinstance(answer, TransientError) for answer in answers)
    await lock.rollback()
    # A later write proves that nothing is still on its way.
    await writer.submit(("after", 1))
    assert [row["name"] for row in await observer.fetch("SELECT name FROM notes")] == ["after"]


async def test_a_lost_connection_is_replaced_within_the_same_request(
    writer: GroupCommit, observer: asyncpg.Connection
) -> None:
    await writer.submit(("before", 1))
    await observer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test_group_commit'"
    )
    assert _echo(await writer.submit(("next", 2))) == "next!"


async def test_rows_survive_their_connection_dying_in_the_middle_once_and_only_once(
    writer: GroupCommit, observer: asyncpg.Connection, database: Database
) -> None:
    lock = await _lock_notes(observer)
    waiting = [writer.submit((f"m{number}", number)) for number in range(10)]

    async def statement_waits() -> bool:
        # Over another connection: inside a transaction, the view shows what it showed first.
        ended = await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'test_group_commit' AND wait_event_type = 'Lock'"
        )
        return bool(ended)

    await wait_until_async(statement_waits, what="the statement")
    await lock.rollback()
    answers = await asyncio.gather(*waiting)
    assert len(answers) == await observer.fetchval("SELECT count(*) FROM notes") == 10


class _AnswerLost:
    """A connection on which COMMIT arrives, but its answer does not."""

    def __init__(self, connection: asyncpg.Connection, commit: bool) -> None:
        self._connection = connection
        self._commit = commit

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    async def execute(self, sql: str, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's signature
        if sql == "COMMIT":
            if self._commit:
                await self._connection.execute(sql)
            self._connection.terminate()
            raise ConnectionResetError("the answer is lost")
        await self._connection.execute(sql, timeout=timeout)


@pytest.mark.parametrize("committed", [True, False])
async def test_when_the_answer_to_a_commit_is_lost_the_truth_is_found_out(
    writer: GroupCommit,
    observer: asyncpg.Connection,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    connect = database.connect
    connections = 0

    async def connect_badly_once(deadline: float) -> object:
        nonlocal connections
        connections += 1
        connection = await connect(deadline)
        return _AnswerLost(connection, committed) if connections == 1 else connection

    monkeypatch.setattr(database, "connect", connect_badly_once)
    answers = await asyncio.gather(*(writer.submit((f"c{number}", number)) for number in range(5)))
    assert [_echo(answer) for answer in answers] == [f"c{number}!" for number in range(5)]
    assert await observer.fetchval("SELECT count(*) FROM notes") == 5
    # Only what was rolled back is written again.
    assert connections == (1 if committed else 2)


async def test_a_lost_transaction_whose_id_became_anothers_is_not_taken_for_committed(
    writer: GroupCommit, observer: asyncpg.Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash, PostgreSQL gives ids again that it never got to write down."""
    connect = database.connect
    lost = 0

    async def connect_badly_once(deadline: float) -> object:
        nonlocal lost
        lost += 1
        connection = await connect(deadline)
        return _AnswerLost(connection, commit=False) if lost == 1 else connection

    async def committed_by_another(xid: str, deadline: float) -> tuple[str, object]:
        return "committed", "the server's run after the crash"

    monkeypatch.setattr(database, "connect", connect_badly_once)
    monkeypatch.setattr(writer, "_transaction_status", committed_by_another)
    assert _echo(await writer.submit(("again", 1))) == "again!"
    assert await observer.fetchval("SELECT array_agg(name) FROM notes") == ["again"]


async def test_a_commit_during_a_crash_is_unknown_where_no_row_proves_it(
    database: Database, observer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A total of views may have grown by another process to which PostgreSQL gave the lost transaction's id."""
    connect = database.connect

    async def connect_badly(deadline: float) -> object:
        return _AnswerLost(await connect(deadline), commit=False)

    async def committed_by_another(xid: str, deadline: float) -> tuple[str, object]:
        return "committed", "the server's run after the crash"

    writer = GroupCommit(database, "notes", STATEMENT._replace(proof=None), lambda: None)
    monkeypatch.setattr(database, "connect", connect_badly)
    monkeypatch.setattr(writer, "_transaction_status", committed_by_another)
    await writer.start()
    with pytest.raises(OutcomeUnknownError):
        await writer.submit(("never", 1))
    await writer.stop()
    assert await observer.fetchval("SELECT count(*) FROM notes") == 0


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A network between the writer and PostgreSQL that can fail."""
    async with proxy_to(database_url) as running:
        yield running


@pytest.fixture
async def far_database(database_url: str, proxy: Proxy) -> AsyncIterator[Database]:
    """The database behind that network."""
    database = Database(PostgresSettings(database_url=through(proxy, database_url)), "test_group_commit")
    await database.start()
    yield database
    await database.stop()


@pytest.fixture
async def far_writer(far_database: Database, observer: asyncpg.Connection) -> AsyncIterator[GroupCommit]:
    """A writer of notes behind that network."""
    writer = GroupCommit(far_database, "notes", STATEMENT, lambda: None)
    await writer.start()
    yield writer
    await writer.stop()


async def _names(observer: asyncpg.Connection, number: int) -> list[str]:
    """Names of the notes, once there are as many."""

    async def stored() -> list[str] | None:
        names = [row["name"] for row in await observer.fetch("SELECT name FROM notes ORDER BY name")]
        return names if len(names) == number else None

    return await wait_until_async(stored, what=f"{number} notes")


async def test_rows_whose_commit_is_never_answered_have_an_unknown_end_and_are_written_once(
    far_writer: GroupCommit, proxy: Proxy, observer: asyncpg.Connection
) -> None:
    proxy.once_sent(b"COMMIT\0", proxy.cut)
    answers = await asyncio.gather(
        *(far_writer.submit((f"u{number}", number)) for number in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [OutcomeUnknownError] * 3
    proxy.heal()
    assert _echo(await far_writer.submit(("v", 1))) == "v!"
    assert await _names(observer, 4) == ["u0", "u1", "u2", "v"]


async def test_rows_whose_network_fails_before_the_commit_are_certainly_not_written(
    far_writer: GroupCommit, proxy: Proxy, observer: asyncpg.Connection
) -> None:
    proxy.once_sent(b"INSERT INTO notes", proxy.cut)
    answers = await asyncio.gather(
        *(far_writer.submit((f"u{number}", number)) for number in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [TransientError] * 3
    proxy.heal()
    await far_writer.submit(("v", 1))
    assert await _names(observer, 1) == ["v"]


async def test_a_network_that_comes_back_in_time_tells_the_end_of_a_commit(
    far_writer: GroupCommit, proxy: Proxy, observer: asyncpg.Connection
) -> None:
    def blink() -> None:
        proxy.cut()
        proxy.heal()

    proxy.once_sent(b"COMMIT\0", blink)
    assert _echo(await far_writer.submit(("a", 1))) == "a!"
    proxy.before_sending(b"COMMIT\0", blink)
    assert _echo(await far_writer.submit(("b", 2))) == "b!"
    assert await _names(observer, 2) == ["a", "b"]


async def test_a_stop_during_a_commit_leaves_its_end_unknown_and_fails_the_queue_for_certain(
    far_writer: GroupCommit, proxy: Proxy, observer: asyncpg.Connection
) -> None:
    committing = proxy.once_sent(b"COMMIT\0", proxy.silence)
    first = far_writer.submit(("first", 1))
    await asyncio.wait_for(committing.wait(), 10)
    second = far_writer.submit(("second", 2))
    await far_writer.stop(0.05)
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(answer) for answer in answers] == [OutcomeUnknownError, TransientError]
    assert await _names(observer, 1) == ["first"]


async def test_a_row_whose_time_has_passed_is_not_begun(writer: GroupCommit, observer: asyncpg.Connection) -> None:
    with pytest.raises(TransientError):
        await writer.submit(("late", 1), deadline_after(0.01))
    assert await observer.fetchval("SELECT count(*) FROM notes") == 0


async def test_a_row_whose_request_was_cancelled_before_it_began_is_not_written(
    writer: GroupCommit, observer: asyncpg.Connection
) -> None:
    writer.submit(("cancelled", 1)).cancel()
    await writer.submit(("other", 2))
    assert await observer.fetchval("SELECT array_agg(name) FROM notes") == ["other"]


async def test_stopping_writes_what_has_arrived(
    database: Database, observer: asyncpg.Connection, commits: list[float]
) -> None:
    writer = GroupCommit(database, "notes", STATEMENT, lambda: None)
    await writer.start()
    waiting = [writer.submit((f"s{number}", number)) for number in range(20)]
    await writer.stop()
    assert len(await asyncio.gather(*waiting)) == 20


async def test_no_transaction_stays_open(writer: GroupCommit, observer: asyncpg.Connection) -> None:
    await asyncio.gather(*(writer.submit((f"i{number}", number * 20)) for number in range(8)), return_exceptions=True)
    idle = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state LIKE 'idle in transaction%'"
    assert await observer.fetchval(idle, "test_group_commit") == 0
