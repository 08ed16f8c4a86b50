"""Governance: the actors whose events may be used to score images and to train models.

The rule has three forms, made from one constant: in Python, in SQL, and as arithmetic that also takes columns of a
query. An actor is not eligible when

1. the account is a test account of the operators, or
2. the actor may be a minor: only the year of birth is known, so in the year of the 18th birthday the actor may still
   be 17. An actor without a year of birth counts as an adult.
"""

from typing import Any, Final

ADULT_AGE_YEARS: Final = 18

ACTOR_ELIGIBLE_SQL: Final = f"""NOT (u.is_test_account OR COALESCE(
    EXTRACT(YEAR FROM {{event_time}} AT TIME ZONE 'UTC') - u.year_of_birth <= {ADULT_AGE_YEARS}, FALSE))"""
"""The rule in SQL, for a row `u` of users and an expression of the event time: `.format(event_time="now()")`."""


def may_be_minor(year_of_birth: Any, event_year: Any) -> Any:  # noqa: ANN401 - numbers and columns alike
    """Condition 2 of the rule.

    Args:
        year_of_birth: calendar year: an int, or a column of a query (null gives null).
        event_year: calendar year (UTC) of the event, likewise.
    """
    return event_year - year_of_birth <= ADULT_AGE_YEARS


def actor_eligible(*, is_test_account: bool, year_of_birth: int | None, event_year: int) -> bool:
    """True if an actor's event counts.

    Args:
        is_test_account: True for accounts of the operators.
        year_of_birth: calendar year, or None when unknown.
        event_year: calendar year (UTC) of the event.
    """
    return not (is_test_account or (year_of_birth is not None and may_be_minor(year_of_birth, event_year)))
