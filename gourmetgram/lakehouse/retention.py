"""Retention of events and windows: days that are older than the setting leave the tables, whole files at a time.

Both are partitioned by the day of the event, so the sums of the window tables stay those of the events. The files leave
the bucket by the maintenance, an hour later.
"""

import logging
from datetime import UTC, datetime, timedelta

from pyiceberg.table import Table

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.commits import replace_files
from gourmetgram.lakehouse.filters import before
from gourmetgram.lakehouse.maintenance import carried_summary
from gourmetgram.lakehouse.reading import whole_files
from gourmetgram.moments import DAY_US, to_us

log = logging.getLogger(__name__)


def drop_old_days_quietly(table: Table, days: int, now: datetime | None = None) -> None:
    """Call `drop_old_days`, and only log a failure: the next run tries again."""
    try:
        drop_old_days(table, days, now)
    except PlatformError as error:
        log.warning("Old days of %s were not dropped this time: %s", ".".join(table.name()), error)


def drop_old_days(table: Table, days: int, now: datetime | None = None) -> int:
    """Remove the rows of all days (UTC) that ended more than `days` days ago, in one commit.

    Args:
        table: a table of this package, freshly loaded.
        days: number of days to keep.
        now: None = the present.

    Returns:
        Number of removed rows.

    Raises:
        ChangedMeanwhileError: another writer committed at the same time; nothing was changed.
        TransientError: a server is away.
    """
    first_day = to_us((now or datetime.now(UTC)) - timedelta(days=days)) // DAY_US
    (field,) = table.spec().fields
    column = table.schema().find_column_name(field.source_id) or ""
    old = [file for file in whole_files(table, before(column, first_day * DAY_US)) if file.partition[0] < first_day]
    if not old:
        return 0
    rows = sum(file.record_count for file in old)
    replace_files(table, old, [], carried_summary(table), {})
    log.info("%s: %d rows of days that are older than %d days were dropped", ".".join(table.name()), rows, days)
    return rows
