"""Old decisions and ids of abandoned uploads go; a decision that a moderator's action names stays."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from api_v1.row_retention import ABANDONED_DAYS, RowRetention
from api_v1.settings import ApiSettings
from gourmetgram.database.pool import Database
from tests.support.api import Api

pytestmark = pytest.mark.servers

_DECISION = """
INSERT INTO moderation (target_type, target_id, inference_mode, risk_score, created_at)
VALUES ('image', gen_random_uuid(), 'heuristic', 0.5, now() - make_interval(days => $1)) RETURNING id
"""
_ABANDONED = """
INSERT INTO abandoned_uploads (image_id, abandoned_at)
VALUES (gen_random_uuid(), now() - make_interval(days => $1)) RETURNING image_id
"""


@asynccontextmanager
async def database_of(environment: Mapping[str, str]) -> AsyncIterator[Database]:
    """The database as one more process would use it."""
    names = {name.upper() for name in ApiSettings.model_fields}
    settings = ApiSettings.load({name: value for name, value in environment.items() if name in names})
    database = Database(settings, "retention-test")
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def test_what_is_older_than_its_retention_goes_and_what_is_named_stays(api: Api) -> None:
    days = 31
    image_id = await api.image()
    old, young = [(await api.row(_DECISION, age))["id"] for age in (days + 1, days - 1)]
    named = (await api.row(_DECISION, days + 1))["id"]
    await api.comment(image_id, await api.user())
    await api.database.execute("UPDATE comments SET moderator_action_id = $1 WHERE image_id = $2", named, image_id)
    gone, left = [(await api.row(_ABANDONED, age))["image_id"] for age in (ABANDONED_DAYS + 1, ABANDONED_DAYS - 1)]
    async with database_of(api.environment) as database:
        retention = RowRetention(database, days)
        assert await retention.remove_old() == 2
        assert await retention.remove_old() == 0
    rows = await api.database.fetch("SELECT id FROM moderation WHERE id = ANY($1)", [old, young, named])
    assert {row["id"] for row in rows} == {young, named}
    kept = await api.database.fetch("SELECT image_id FROM abandoned_uploads WHERE image_id = ANY($1)", [gone, left])
    assert [row["image_id"] for row in kept] == [left]
