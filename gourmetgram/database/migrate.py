"""Bring a database's schema to the newest revision."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg2
from psycopg2 import errors
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from gourmetgram.database.engines import KEEPALIVES
from gourmetgram.database.revision import REVISION, REVISION_QUERY, name_of
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import PostgresSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER: Final = Path(__file__).with_name("migrations")
PATIENCE_S: Final = 30.0
"""Longest attempt of a migration to get its locks, seconds."""

_PAUSE_S: Final = 0.5
_TABLE_LOCK_WAIT_MS: Final = 250
"""Longest wait for one lock, ms: requests to the table queue behind it, so it is shorter than a request's own wait."""
_OTHER_RUN_WAIT_MS: Final = 60_000
_STATEMENT_MS: Final = 600_000
LOCK_KEY: Final = 0x60F00D5C
"""Number of the advisory lock; any number that no other program uses in this database."""


@dataclass(frozen=True)
class Migration:
    """The revisions before and after a run.

    Attributes:
        before: revision before the run; None = the database had none.
        after: the newest revision.
    """

    before: str | None
    after: str

    @property
    def changed(self) -> bool:
        """True when the run changed the schema."""
        return self.before != self.after

    def __str__(self) -> str:
        """One sentence for the log or the terminal."""
        if self.changed:
            return f"The database schema was brought from {name_of(self.before)} to {name_of(self.after)}."
        return f"The database schema is up to date ({name_of(self.after)})."


def current_revision(settings: PostgresSettings) -> str | None:
    """The database's revision; None = it has none.

    Raises:
        TransientError: PostgreSQL does not answer.
    """
    try:
        with closing(psycopg2.connect(settings.database_url, connect_timeout=5, **KEEPALIVES)) as connection:
            cursor = connection.cursor()
            cursor.execute(REVISION_QUERY)
            row = cursor.fetchone()
    except errors.UndefinedTable:
        return None
    except psycopg2.Error as error:
        raise TransientError(f"The schema's revision cannot be read from PostgreSQL: {_cause(error)}") from error
    return str(row[0]) if row else None


def migrate(settings: PostgresSettings, patience_s: float = PATIENCE_S) -> Migration:
    """Bring the schema to the newest revision, in one transaction; a run that fails changes nothing.

    Of two runs at the same time, the second waits for the first. Services may go on writing.

    Args:
        settings: where the database is.
        patience_s: longest attempt while other transactions hold locks, seconds.

    Raises:
        TransientError: the database is away, or a lock stayed taken for `patience_s`.
        PermanentError: the database is newer than this code, or a revision cannot be applied.
    """
    current = current_revision(settings)
    if current == REVISION:
        return Migration(current, current)  # without Alembic, whose import takes longer than the whole comparison
    attempts = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(_PAUSE_S),
        reraise=True,
    )
    return attempts(_upgrade, settings)


def _upgrade(settings: PostgresSettings) -> Migration:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with _transaction(settings) as connection:
        before = _locked_revision(connection)
        if before is not None and before not in known:
            raise PermanentError(
                f"The database schema is at {name_of(before)}, which this code does not know: it ends at {REVISION}. "
                "Newer code has used this database: update the checkout (`git pull`) and its images (`make lab-build`)."
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return Migration(before, REVISION)


def _locked_revision(connection: "Connection") -> str | None:
    """Wait for other runs, then read the revision; no other run can begin before the end of the transaction."""
    from sqlalchemy import inspect

    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_OTHER_RUN_WAIT_MS}")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_TABLE_LOCK_WAIT_MS}")
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.exec_driver_sql(REVISION_QUERY).scalar()
    return None if revision is None else str(revision)


@contextmanager
def _transaction(settings: PostgresSettings) -> "Iterator[Connection]":
    """One transaction on its own connection; its errors become errors of the platform."""
    from sqlalchemy.exc import DBAPIError, OperationalError

    from gourmetgram.database.engines import create_worker_engine

    engine = create_worker_engine(settings, "migrate", statement_timeout_ms=_STATEMENT_MS)
    try:
        with engine.begin() as connection:
            yield connection
    except OperationalError as error:
        raise TransientError(_sentence(error.orig)) from error
    except DBAPIError as error:
        raise PermanentError(f"The schema was not changed: {_cause(error.orig)}") from error
    finally:
        engine.dispose()


def _sentence(error: BaseException | None) -> str:
    if isinstance(error, errors.LockNotAvailable):
        return (
            "The schema was not changed: another transaction holds a lock. pg_stat_activity lists "
            "it (state `active` or `idle in transaction`): wait for its end, or end it, then migrate again."
        )
    return f"The schema was not changed: {_cause(error)}"


def _cause(error: BaseException | None) -> str:
    """First line of PostgreSQL's message; its details may take several lines."""
    return str(error).strip().partition("\n")[0]
