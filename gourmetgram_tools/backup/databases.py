"""Dump and restore of PostgreSQL databases with its own programs."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from psycopg2 import extensions, sql

from gourmetgram.database.engines import KEEPALIVES
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import process_environment
from gourmetgram_tools.local import toolchain

_EMPTY_ALLOWED: Final = frozenset({"alembic_version", "installation", "experiments", "experiment_tags"})
"""Tables that have rows in a fresh installation."""

_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
_CLIENTS: Final = """
    SELECT DISTINCT coalesce(nullif(application_name, ''), 'a program without a name') FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY 1
"""


def libpq_url(url: str, database: str | None = None) -> str:
    """URL for libpq, without the driver's name.

    Args:
        url: a URL for libpq or SQLAlchemy.
        database: name of another database on the same server.
    """
    parts = urlsplit(url)
    changed = parts._replace(scheme="postgresql")
    return urlunsplit(changed if database is None else changed._replace(path=f"/{database}"))


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A connection in autocommit mode; psycopg2 has no types.

    Raises:
        TransientError: PostgreSQL does not answer.
    """
    try:
        with closing(psycopg2.connect(url, connect_timeout=5, **KEEPALIVES)) as connection:
            connection.autocommit = True
            yield connection
    except psycopg2.OperationalError as error:
        raise TransientError(f"PostgreSQL does not answer: {str(error).strip()}") from error


@contextmanager
def shared_snapshot(url: str) -> Iterator[tuple[Any, str]]:
    """A read-only transaction, and the id with which others see the same rows while it is open.

    Yields:
        A cursor of the transaction, and the id.

    Raises:
        TransientError: PostgreSQL does not answer.
    """
    with connected(url) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot()")
            yield cursor, cursor.fetchone()[0]
        connection.rollback()


def clock(url: str) -> datetime:
    """The server's time now, UTC."""
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now.astimezone(UTC)


def exists(url: str, database: str) -> bool:
    """True if the server has a database of this name."""
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
        return cursor.fetchone() is not None


def first_filled_table(url: str) -> str | None:
    """A table with rows of its own; None in a database as it is after its creation."""
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLES)
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(name)))
            if name not in _EMPTY_ALLOWED and cursor.fetchone() is not None:
                return str(name)
    return None


def other_clients(url: str) -> list[str]:
    """Names of the programs that are connected to a database."""
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute(_CLIENTS)
        return [name for (name,) in cursor.fetchall()]


def dump(url: str, file: Path, snapshot: str | None = None) -> None:
    """Dump a database.

    Args:
        url: its address.
        file: the file to write, in pg_dump's custom format.
        snapshot: id of a `shared_snapshot`; None = the rows of now.

    Raises:
        PermanentError: pg_dump failed.
    """
    options = ["--format=custom", f"--file={file}", *([f"--snapshot={snapshot}"] if snapshot else [])]
    answer = subprocess.run(
        [_program("pg_dump"), *options], env=_login(url), capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise PermanentError(f"pg_dump of {_name(url)} failed: {answer.stderr.strip()}")


def restore(url: str, file: Path, statement: str = "") -> None:
    """Replace the tables of a database by those of a dump, in one transaction.

    Args:
        url: its address.
        file: a dump.
        statement: SQL to run after it, in the same transaction.

    Raises:
        PermanentError: the database refused; nothing was changed.
    """
    psql = [_program("psql"), "--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]
    with tempfile.TemporaryFile("w+") as problems:
        with subprocess.Popen(psql, env=_login(url), stdin=subprocess.PIPE, stderr=problems, text=True) as target:
            to_psql = target.stdin
            assert to_psql is not None  # noqa: S101 - given by PIPE
            try:
                to_psql.write("BEGIN;\n")
                to_psql.flush()
                script = subprocess.run(
                    [_program("pg_restore"), "--clean", "--if-exists", "--no-owner", "--file=-", str(file)],
                    stdout=to_psql,
                    stderr=subprocess.PIPE,
                    text=True,
                    check=False,
                )
                # Without this COMMIT, the end of the input undoes all: a half dump is never restored.
                if script.returncode == 0:
                    # A dump leaves the session without a search path.
                    to_psql.write(f"RESET search_path;\n{statement};\nCOMMIT;\n")
                to_psql.close()
            except BrokenPipeError:
                pass  # psql has ended; its message says why
            code = target.wait()
        problems.seek(0)
        reason = problems.read().strip()
    if code != 0 or script.returncode != 0:
        raise PermanentError(f"{file.name} was not restored, and {_name(url)} is unchanged: {reason or script.stderr}")


def _program(name: str) -> str:
    return str(toolchain.postgres_install() / "bin" / name)


def _name(url: str) -> str:
    return str(extensions.parse_dsn(url)["dbname"])


def _login(url: str) -> dict[str, str]:
    """Variables instead of arguments: arguments can be read by every user of the machine."""
    where = extensions.parse_dsn(url)
    inherited = {name: value for name, value in process_environment().items() if not name.startswith("PG")}
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    return {**inherited, **{name: where[part] for name, part in names.items() if part in where}}
