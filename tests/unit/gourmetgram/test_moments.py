from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.moments import DAY_US, EPOCH, HOUR_US, MINUTE_US, from_us, parse_utc, to_us, unix_text, utc_text

moments = st.datetimes(timezones=st.just(UTC))


@given(moments)
def test_a_moment_survives_each_form(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment
    assert parse_utc(utc_text(moment)) == moment
    seconds, micros = unix_text(to_us(moment)).lstrip("-").split(".")
    assert abs(to_us(moment)) == int(seconds) * 1_000_000 + int(micros)


def test_the_units_are_those_of_timedelta() -> None:
    lengths = [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)]
    assert [to_us(EPOCH + length) for length in lengths] == [MINUTE_US, HOUR_US, DAY_US]


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0, "0.000000"),
        (1_763_700_000_123_456, "1763700000.123456"),
        (-1, "-0.000001"),
        (253_402_300_799_999_999, "253402300799.999999"),
    ],
)
def test_unix_seconds_are_exact(time_us: int, text: str) -> None:
    assert unix_text(time_us) == text


def test_a_text_is_utc_whatever_the_zone_of_the_moment() -> None:
    moment = datetime(2026, 11, 21, 5, tzinfo=timezone(timedelta(hours=1)))
    assert utc_text(moment) == "2026-11-21T04:00:00.000000Z"
    assert parse_utc("2026-11-21T05:00:00+01:00").tzinfo is UTC


def test_numpy_integers_are_times_too() -> None:
    number: Any = np.int64(1_500_000)
    assert from_us(number) == EPOCH + timedelta(seconds=1, microseconds=500_000)


def test_a_time_outside_the_calendar_is_refused() -> None:
    with pytest.raises(OverflowError):
        from_us(253_402_300_800_000_000)
