"""Governance: whose actions may be used to judge images and to train models."""

from typing import Final

ADULT_AGE_YEARS: Final = 18

ACTOR_ELIGIBLE_SQL: Final = """NOT (u.is_test_account OR COALESCE(
    EXTRACT(YEAR FROM {event_time} AT TIME ZONE 'UTC') - u.year_of_birth <= 18, FALSE))"""
"""The same rule as SQL, for a row `u` of users and the name of an event time: `.format(event_time="now()")`."""


def actor_eligible(*, is_test_account: bool, year_of_birth: int | None, event_year: int) -> bool:
    """Whether an actor's event counts.

    Only the year of birth is known, so in the year of the 18th birthday somebody may still be 17:
    such an actor is not eligible. An unknown year counts as an adult's.

    Args:
        is_test_account: accounts of the operators themselves.
        year_of_birth: calendar year, or None when unknown.
        event_year: calendar year (UTC) of the event.
    """
    may_be_minor = year_of_birth is not None and event_year - year_of_birth <= ADULT_AGE_YEARS
    return not (is_test_account or may_be_minor)
