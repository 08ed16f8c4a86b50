"""Up to when the event history is complete once everything that is in Kafka now has been read."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Final

import psycopg2

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import PostgresSettings

_MAY_STILL_WRITE_S: Final = 10
"""A transaction this young may be about to write although PostgreSQL has not numbered it yet. The platform's own take
4 s at most; an older one without a number is a reader."""

# The order of the statements is the proof. An event with a time before the freeze belongs to a transaction that
# began before it (the database takes event times inside the transaction). Such a transaction is either seen open by
# the second statement, or had ended before it, and then the third sees its outbox row, unless that is published
# already, and then its offset is below the end offsets, which are asked for later still.
_NOW: Final = "SELECT clock_timestamp()"
_OLDEST_WRITER: Final = (
    "SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend' AND (backend_xid IS NOT NULL OR xact_start > %s - make_interval(secs => %s))"
)
_OLDEST_UNPUBLISHED: Final = "SELECT min(created_at) FROM event_outbox WHERE published_at IS NULL"


def freeze(settings: PostgresSettings) -> tuple[datetime, datetime]:
    """Take the freeze time of a run, before its end offsets are asked for.

    Returns:
        the freeze time by the database's clock, and complete_through: the earliest of freeze time, oldest unpublished
        outbox row and start of the oldest open writing transaction; both UTC.

    Raises:
        TransientError: the database is away or too slow.
        PermanentError: it has no outbox.
    """
    try:
        with closing(psycopg2.connect(settings.database_url, **_OPTIONS)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_NOW)
                (now,) = cursor.fetchone()
                cursor.execute(_OLDEST_WRITER, (now, _MAY_STILL_WRITE_S))
                (writer,) = cursor.fetchone()
                cursor.execute(_OLDEST_UNPUBLISHED)
                (unpublished,) = cursor.fetchone()
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise TransientError(f"the application database is away or too slow: {str(error).strip()}") from error
    except psycopg2.Error as error:
        raise PermanentError(f"the application database refused to tell its outbox: {str(error).strip()}") from error
    complete_through = min(moment for moment in (now, writer, unpublished) if moment is not None)
    return now.astimezone(UTC), complete_through.astimezone(UTC)


_OPTIONS: Final = {
    "application_name": "gourmetgram-aggregation",
    "connect_timeout": 5,
    "options": "-c timezone=UTC -c statement_timeout=30000 -c lock_timeout=10000",
}
