"""The values that requests carry."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api_v1 import fields


def accepts(kind: Any, value: object) -> Any:
    return TypeAdapter(kind).validate_python(value)


def refuses(kind: Any, value: object) -> bool:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)
    return True


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=50))
def test_a_text_is_taken_exactly_when_it_is_not_blank_and_holds_only_characters(value: str) -> None:
    bad = any(
        (ord(c) < 32 and c not in "\n\r\t") or 0x7F <= ord(c) <= 0x9F or 0xD800 <= ord(c) <= 0xDFFF for c in value
    )
    if bad or not value.strip():
        assert refuses(fields.CommentText, value)
    else:
        assert accepts(fields.CommentText, value) == value
        if set(value) & set("\n\r\t"):
            assert refuses(fields.Username, value)
        else:
            assert accepts(fields.Username, value) == value.strip()


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\tb", "trailing\n"])
def test_names_and_reasons_are_of_one_line_and_comments_and_captions_need_not_be(bad: str) -> None:
    for one_line in (fields.Username, fields.Category, fields.CountryCode, fields.FlagReason):
        assert refuses(one_line, bad)
    assert accepts(fields.Caption, bad) == bad
    assert accepts(fields.CommentText, bad) == bad


def test_lengths_are_counted_in_characters_and_after_trimming_where_that_is_done() -> None:
    assert accepts(fields.Username, " " + "🍜" * 100 + " ") == "🍜" * 100
    assert refuses(fields.Username, "x" * 101)
    assert refuses(fields.Caption, " " + "x" * 2000)


def test_ids_are_hyphenated_and_become_lower_case() -> None:
    assert accepts(fields.UuidText, "AAAAAAAA-1111-4111-8111-111111111111") == "aaaaaaaa-1111-4111-8111-111111111111"
    for bad in ("a" * 32, "{11111111-1111-4111-8111-111111111111}", "11111111-1111-4111-8111-111111111111\n", 1, None):
        assert refuses(fields.UuidText, bad)


def test_times_are_texts_and_become_utc() -> None:
    assert accepts(fields.UtcTime, "2026-01-01T12:00:00+02:00") == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert accepts(fields.UtcTime, "2026-01-01T12:00:00") == datetime(2026, 1, 1, 12, tzinfo=UTC)
    for bad in (1, 1.5, "1700000000.5", "", "tomorrow", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"):
        assert refuses(fields.UtcTime, bad)


def test_a_future_time_is_refused_where_only_the_past_has_a_sense() -> None:
    assert refuses(fields.PastTime, (datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    assert accepts(fields.PastTime, (datetime.now(UTC) - timedelta(minutes=1)).isoformat())


def test_a_plus_that_a_query_turned_into_a_space_is_restored() -> None:
    assert accepts(fields.QueryTime, "2026-01-01T12:00:00 02:00") == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_a_truth_value_is_no_number() -> None:
    assert refuses(fields.TosVersion, True)
    assert refuses(fields.BirthYear, True)


def test_the_year_of_birth_ends_with_this_year() -> None:
    year = datetime.now(UTC).year
    assert accepts(fields.BirthYear, year) == year
    assert refuses(fields.BirthYear, year + 1)
    assert refuses(fields.BirthYear, 1899)
