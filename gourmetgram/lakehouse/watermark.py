"""The watermark of an aggregation: the time through which the broker holds every event of the platform."""

from contextlib import closing
from typing import Final

import psycopg2

from gourmetgram.database.completeness import DatabaseWatermark, events_watermark
from gourmetgram.database.engines import KEEPALIVES
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import PostgresSettings

_OPTIONS: Final = {
    "application_name": "gourmetgram-aggregation",
    "connect_timeout": 5,
    **KEEPALIVES,
    "options": "-c timezone=UTC -c statement_timeout=30000 -c lock_timeout=10000",
}


def freeze(settings: PostgresSettings) -> DatabaseWatermark:
    """Take the watermark of a run, before its end offsets are read.

    Raises:
        TransientError: the database is away or too slow.
        PermanentError: the database has no outbox.
    """
    try:
        with closing(psycopg2.connect(settings.database_url, **_OPTIONS)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                return events_watermark(cursor)
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise TransientError(f"the application database is away or too slow: {str(error).strip()}") from error
    except psycopg2.Error as error:
        raise PermanentError(f"the application database refused to show its outbox: {str(error).strip()}") from error
