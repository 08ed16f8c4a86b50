"""Row filters on Iceberg tables. PyIceberg's expressions take positional arguments; mypy does not know it."""

from datetime import datetime

from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThan, GreaterThanOrEqual, LessThan

from gourmetgram.moments import DAY_US, from_us


def equals(column: str, value: str) -> BooleanExpression:
    """Rows with this text in a column."""
    return EqualTo(column, value)  # type: ignore[call-arg, misc]


def after(column: str, moment: datetime) -> BooleanExpression:
    """Rows whose time is later than a moment."""
    return GreaterThan(column, moment.isoformat())  # type: ignore[call-arg, misc]


def at_or_after(column: str, moment: datetime) -> BooleanExpression:
    """Rows whose time is not earlier than a moment."""
    return GreaterThanOrEqual(column, moment.isoformat())  # type: ignore[call-arg, misc]


def before(column: str, end_us: int) -> BooleanExpression:
    """Rows whose time is earlier than `end_us`, microseconds since 1970."""
    return LessThan(column, from_us(end_us).isoformat())  # type: ignore[call-arg, misc]


def between(column: str, start_us: int, end_us: int) -> BooleanExpression:
    """Rows whose time is in [start, end), microseconds since 1970."""
    first, end = from_us(start_us).isoformat(), from_us(end_us).isoformat()
    return And(GreaterThanOrEqual(column, first), LessThan(column, end))  # type: ignore[call-arg, misc]


def on_day(column: str, day: int) -> BooleanExpression:
    """Rows whose time is on a day (since 1970, UTC)."""
    return between(column, day * DAY_US, (day + 1) * DAY_US)
