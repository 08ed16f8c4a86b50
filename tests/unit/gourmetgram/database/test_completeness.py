from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gourmetgram.database.completeness import DatabaseWatermark, events_watermark, rows_watermark

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class FakeCursor:
    """Answers the statements in turn, and keeps them."""

    def __init__(self, *answers: datetime | None) -> None:
        self.statements: list[str] = []
        self._answers = iter(answers)

    def execute(self, statement: str, _values: Any = None) -> None:
        self.statements.append(statement)

    def fetchone(self) -> tuple[datetime | None]:
        return (next(self._answers),)


@pytest.mark.parametrize(
    ("writer", "unpublished", "complete_through"),
    [
        (None, None, NOW),
        (NOW - 2 * SECOND, None, NOW - 2 * SECOND),
        (None, NOW - 3 * SECOND, NOW - 3 * SECOND),
        (NOW - 2 * SECOND, NOW - 3 * SECOND, NOW - 3 * SECOND),
        (NOW + SECOND, NOW + SECOND, NOW),
    ],
)
def test_the_earliest_of_the_three_is_the_watermark_of_events(
    writer: datetime | None, unpublished: datetime | None, complete_through: datetime
) -> None:
    assert events_watermark(FakeCursor(NOW, writer, unpublished)) == DatabaseWatermark(NOW, complete_through)


def test_the_clock_is_read_before_the_writers_and_these_before_the_outbox() -> None:
    cursor = FakeCursor(NOW, None, None)
    events_watermark(cursor)
    clock, writers, outbox = cursor.statements
    assert "clock_timestamp" in clock
    assert "pg_stat_activity" in writers
    assert "event_outbox" in outbox


def test_rows_do_not_wait_for_the_outbox() -> None:
    cursor = FakeCursor(NOW, NOW - SECOND)
    assert rows_watermark(cursor).complete_through == NOW - SECOND
    assert len(cursor.statements) == 2


def test_both_times_are_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5)))
    assert {moment.tzinfo for moment in rows_watermark(FakeCursor(local, local - SECOND))} == {UTC}
