"""The time of `gourmetgram outbox replay --since`."""

from datetime import UTC, datetime, timedelta

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram_tools.cli.outbox import since_time

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("10m", NOW - timedelta(minutes=10)),
        ("1h", NOW - timedelta(hours=1)),
        ("2026-05-01T11:30:00", NOW - timedelta(minutes=30)),
        ("2026-05-01T13:30:00+02:00", NOW - timedelta(minutes=30)),
    ],
)
def test_a_time_is_an_age_or_iso_8601(text: str, moment: datetime) -> None:
    assert since_time(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "m", "yesterday", "10d", "-5m", "99999999999999h", "2026-13-01", "2026-05-01T12:00:01"]
)
def test_another_text_or_a_future_time_is_refused(text: str) -> None:
    with pytest.raises(PermanentError, match=r"neither a time|in the future"):
        since_time(text, NOW)
