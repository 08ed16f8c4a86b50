"""One rule of eligibility: Python, SQL and the expression of the training rows agree on a grid of actors and times."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product

import psycopg2
import pyarrow as pa
import pytest

from gourmetgram.features import offline
from gourmetgram.lakehouse.engine import open_engine
from gourmetgram.moments import to_us
from gourmetgram.policy.eligibility import ACTOR_ELIGIBLE_SQL, ADULT_AGE_YEARS, actor_eligible
from gourmetgram.training_data.rows import GOVERNANCE_REASONS, anchors

pytestmark = pytest.mark.servers

TICK = timedelta(microseconds=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = (NEW_YEAR - TICK, NEW_YEAR, datetime(2024, 2, 29, 23, 59, tzinfo=UTC), datetime(2026, 7, 1, 12, tzinfo=UTC))
BIRTH_YEARS = (None, 1900, *range(2004, 2011), 2026)
GRID = list(product((False, True), BIRTH_YEARS, MOMENTS))


def by_python() -> list[bool]:
    return [
        actor_eligible(is_test_account=test_account, year_of_birth=born, event_year=moment.year)
        for test_account, born, moment in GRID
    ]


def by_sql(database_url: str) -> list[bool]:
    statement = (
        f"SELECT {ACTOR_ELIGIBLE_SQL.format(event_time='%s::timestamptz')} "
        "FROM (SELECT %s::boolean AS is_test_account, %s::integer AS year_of_birth) AS u"
    )
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        # A session far from UTC: the rule names its zone itself.
        cursor.execute("SET timezone = 'Pacific/Kiritimati'")
        found = []
        for test_account, born, moment in GRID:
            cursor.execute(statement, (moment, test_account, born))
            found.append(cursor.fetchone()[0])
    return found


def by_expression() -> list[bool]:
    """Each actor of the grid uploads one image; governance drops the images of actors that are not eligible."""
    users = [
        {"user_id": str(n), "created_us": 0, "year_of_birth": born, "is_test_account": test_account}
        for n, (test_account, born, _) in enumerate(GRID)
    ]
    images = [
        {"image_id": str(n), "user_id": str(n), "created_us": to_us(moment), "category": "Soup", "caption_length": 0}
        for n, (_, _, moment) in enumerate(GRID)
    ]
    end_us = to_us(datetime(2030, 1, 1, tzinfo=UTC))
    with open_engine() as engine:
        loaded_images = engine.load("images", offline.IMAGES, pa.Table.from_pylist(images, offline.IMAGES.to_pyarrow()))
        loaded_users = engine.load("users", offline.USERS, pa.Table.from_pylist(users, offline.USERS.to_pyarrow()))
        points = anchors(loaded_images, loaded_users, end_us, end_us)
        reasons = engine.rows(points.filter(points.decision_point_minutes == 0)).to_pylist()
    by_image = {int(row["image_id"]): row["reason"] for row in reasons}
    assert set(by_image.values()) <= {*GOVERNANCE_REASONS, None}
    return [by_image[n] is None for n in range(len(GRID))]


def test_three_forms_of_the_rule_agree_on_every_actor(database_url: str) -> None:
    expected = by_python()
    assert by_sql(database_url) == expected
    assert by_expression() == expected


def test_the_grid_holds_both_sides_of_the_limit() -> None:
    ages = {moment.year - born for _, born, moment in GRID if born is not None}
    assert {ADULT_AGE_YEARS, ADULT_AGE_YEARS + 1} <= ages
    assert set(by_python()) == {True, False}
