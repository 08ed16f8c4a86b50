"""Retention of Airflow's log files, which Airflow itself keeps for ever."""

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gourmetgram.settings import Settings

log = logging.getLogger(__name__)

_DAY_S = 86_400


class LogRetentionSettings(Settings):
    """Retention of log files."""

    airflow_log_retention_days: Annotated[int, Field(ge=1)] = 30
    """Age at which a log file of Airflow is removed, days."""


def remove_old_logs(folder: Path, days: int, now: float | None = None) -> int:
    """Remove log files that were not written to for a number of days, and folders that are empty then.

    Args:
        folder: Airflow's log folder.
        days: age of a file.
        now: Unix seconds; None = the present.

    Returns:
        Number of removed files.
    """
    oldest = (time.time() if now is None else now) - days * _DAY_S
    removed = 0
    for path in sorted(folder.rglob("*"), reverse=True):
        # Another process may be at work in the same folder.
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path.lstat().st_mtime < oldest:
                path.unlink()
                removed += 1
    if removed:
        log.info("Removed %d log files that are older than %d days", removed, days)
    return removed
