"""Watermarks of PostgreSQL: the time through which every row, or every event, is visible.

The exactness of the lakehouse and of the training data rests on these statements, and on their order:

1. Read the database's clock: the time of the watermark.
2. Find the oldest transaction that may still write. The database takes event times inside the writing transaction.
   So a row with a time before step 1 belongs to a transaction that began before it. That transaction is open in this
   step, or it has ended, and every later snapshot shows its rows.
3. For events only: find the oldest unpublished row of the outbox. A transaction that had ended by step 2 has its row
   here, unless the row is published. Then its offset is below the broker's end offsets, which are read later still.
"""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

_MAY_STILL_WRITE_S: Final = 10
"""Age up to which a transaction counts as a writer although PostgreSQL has given it no number yet.

The platform's own transactions take 4 s at most; an older one without a number is a reader.
"""

_NOW: Final = "SELECT clock_timestamp()"
_OLDEST_WRITER: Final = (
    "SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend' AND (backend_xid IS NOT NULL OR xact_start > %s - make_interval(secs => %s))"
)
OLDEST_UNPUBLISHED: Final = "SELECT min(created_at) FROM event_outbox WHERE published_at IS NULL"


class DatabaseWatermark(NamedTuple):
    """A watermark; both times in UTC, by the database's clock.

    Attributes:
        taken_at: time of the measurement.
        complete_through: time through which nothing is missing, at most `taken_at`.
    """

    taken_at: datetime
    complete_through: datetime


def rows_watermark(cursor: Any) -> DatabaseWatermark:  # noqa: ANN401 - psycopg2 has no types
    """Time through which a snapshot that is taken after this call holds every row (steps 1 and 2).

    Args:
        cursor: psycopg2 cursor of a connection in autocommit mode.
    """
    cursor.execute(_NOW)
    (now,) = cursor.fetchone()
    cursor.execute(_OLDEST_WRITER, (now, _MAY_STILL_WRITE_S))
    (writer,) = cursor.fetchone()
    return _earliest(now, writer)


def events_watermark(cursor: Any) -> DatabaseWatermark:  # noqa: ANN401 - psycopg2 has no types
    """Time through which the broker holds every event, once its end offsets are read after this call (steps 1 to 3).

    Args:
        cursor: psycopg2 cursor of a connection in autocommit mode.
    """
    rows = rows_watermark(cursor)
    cursor.execute(OLDEST_UNPUBLISHED)
    (unpublished,) = cursor.fetchone()
    return _earliest(rows.taken_at, rows.complete_through, unpublished)


def _earliest(now: datetime, *moments: datetime | None) -> DatabaseWatermark:
    known = [moment for moment in moments if moment is not None]
    return DatabaseWatermark(now.astimezone(UTC), min([now, *known]).astimezone(UTC))
