"""Row counts, for a display of the platform's growth."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.errors import TransientError
from gourmetgram_tools.inspection.platform import Platform

PlatformCounts = dict[str, int]

_STATEMENT: Final = text("""
    SELECT (SELECT count(*) FROM users) AS users,
           (SELECT count(*) FROM images) AS uploads,
           (SELECT COALESCE(sum(views), 0)::bigint FROM images) AS views,
           (SELECT count(*) FROM comments) AS comments,
           (SELECT count(*) FROM flags) AS flags,
           (SELECT count(*) FROM moderation) AS decisions""")


def read_counts(platform: Platform) -> PlatformCounts:
    """Count users, uploads, views, comments, flags and decisions.

    Raises:
        TransientError: the database is away.
    """
    engine = create_worker_engine(platform.postgres, "gourmetgram-counts")
    try:
        with engine.connect() as connection:
            return {name: int(value) for name, value in connection.execute(_STATEMENT).mappings().one().items()}
    except OperationalError as error:
        raise TransientError(f"PostgreSQL did not answer: {error.orig}") from error
    finally:
        engine.dispose()
