"""The APIs on a database that is older than they are: 503 with a reason in the log, until it is migrated."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from api_v1 import schema_watch
from gourmetgram.database.migrate import migrate
from gourmetgram.database.revision import REVISION
from gourmetgram.settings import PostgresSettings
from tests.support.api import picture, running_api
from tests.support.schemas import OLDEST
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("version", [1, 2])
async def test_uploads_fail_on_an_old_database_with_a_reason_and_work_once_it_is_migrated(
    version: int,
    make_old_database: Callable[[str | None], str],
    api_environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schema_watch, "LOOK_EVERY_S", 0.05)
    url = make_old_database(OLDEST)

    def logged() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == schema_watch.log.name]

    async def reason() -> list[str]:
        return logged()

    async def ready() -> bool:
        return (await api.http.get("/ready")).status_code == 200

    with caplog.at_level(logging.INFO):
        async with running_api(version, {**api_environment, "DATABASE_URL": url}, as_owner=True) as api:
            (line,) = await wait_until_async(reason, what="the reason in the log")
            assert f"at no revision, this code needs revision {REVISION}: run `docker compose up migrate`" in line
            user_id = await api.user()
            assert (await api.upload(user_id, picture())).status_code == 503
            assert (await api.http.get("/ready")).json()["checks"]["postgres"] is False

            await asyncio.to_thread(migrate, PostgresSettings(database_url=url))
            assert (await api.upload(user_id, picture())).status_code == 200
            await wait_until_async(ready, what="readiness")
            assert logged() == [line, f"The database schema is at revision {REVISION} now"]
