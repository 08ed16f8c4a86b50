"""Moments in time: integers of microseconds since the Unix epoch (UTC), and their conversions.

Integers are exact and quick to compare, and every store of the platform can hold them.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US


def to_us(moment: datetime) -> int:
    """Microseconds since the epoch, exact; negative before 1970."""
    since_epoch = moment - EPOCH
    # Integers only: a float of seconds loses microseconds from the year 2106 on.
    return (since_epoch.days * 86_400 + since_epoch.seconds) * SECOND_US + since_epoch.microseconds


def from_us(time_us: int) -> datetime:
    """The moment in UTC, exact.

    Raises:
        OverflowError: the moment is outside the years 1 to 9999.
    """
    # timedelta does not accept numpy integers.
    return EPOCH + timedelta(microseconds=int(time_us))


def unix_text(time_us: int) -> str:
    """Unix seconds with six decimals, exact: `1763700000.123456`. The form of scores and members in Redis."""
    sign, time_us = ("-", -time_us) if time_us < 0 else ("", time_us)
    return f"{sign}{time_us // SECOND_US}.{time_us % SECOND_US:06d}"


def now_us() -> int:
    """Current time by the machine's clock."""
    return time.time_ns() // 1_000


def utc_text(moment: datetime) -> str:
    """ISO-8601 in UTC with microseconds: `2026-11-21T04:00:00.000000Z`. The form of snapshots and metadata files."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """The moment of an ISO-8601 text, in UTC; the inverse of `utc_text`.

    Raises:
        ValueError: the text is no ISO-8601 time.
    """
    return datetime.fromisoformat(text).astimezone(UTC)
