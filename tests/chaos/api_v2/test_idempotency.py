"""Requests with an idempotency key are carried out once, whatever is killed between their attempts."""

import asyncio
from collections.abc import Iterator
from typing import Final

import asyncpg
import pytest

from gourmetgram_tools.local.stack import Stack
from tests.support.api import Api, running_api
from tests.support.own_stack import own_stack
from tests.support.waiting import wait_until_async
from tests.support.write_load import WriteLoad

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(400)]

_TOPICS: Final = {"upload": "uploads", "view": "views", "comment": "comments", "flag": "flags"}
_IMAGES: Final = 10


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """Servers and an API that this test may kill."""
    with own_stack("idempotency-faults") as stack:
        stack.override("ORPHAN_AFTER_SECONDS", "10")
        stack.up(("api_v2",))
        yield stack


async def _more(load: WriteLoad, number: int) -> None:
    goal = load.done.total() + number

    async def reached() -> bool:
        return load.done.total() >= goal

    await wait_until_async(reached, 90.0, f"{number} more requests that are done")


async def _written(database: asyncpg.Connection) -> dict[str, int]:
    """Rows of each kind, without those of the images that the load began with."""
    row = await database.fetchrow(
        "SELECT (SELECT count(*) FROM images) AS upload, (SELECT sum(views)::bigint FROM images) AS view,"
        " (SELECT count(*) FROM comments) AS comment, (SELECT count(*) FROM flags) AS flag"
    )
    return {**row, "upload": row["upload"] - _IMAGES}


async def _events(database: asyncpg.Connection) -> dict[str, int]:
    """Events of each kind: published ones stay for an hour."""
    rows = await database.fetch("SELECT topic, count(*) AS number FROM event_outbox GROUP BY topic")
    by_topic = {row["topic"].rpartition(".")[2]: row["number"] for row in rows}
    events = {kind: by_topic[topic] for kind, topic in _TOPICS.items()}
    return {**events, "upload": events["upload"] - _IMAGES}


async def test_retries_through_two_processes_and_kills_of_api_and_database_write_each_request_once(own: Stack) -> None:
    unwanted = ("REDIS_", "GENERATOR_", "KAFKA_TOPICS")
    environment = {name: value for name, value in own.environment().items() if not name.startswith(unwanted)}
    async with running_api(2, environment) as second:
        urls = f"http://127.0.0.1:{own.ports.api},{str(second.http.base_url).rstrip('/')}"
        load = await asyncio.to_thread(WriteLoad, urls, threads=8, images=_IMAGES, keyed=1.0, uploads=0.1)
        await asyncio.to_thread(load.__enter__)
        for name in ("api_v2", "api_v2", "postgres", "api_v2", "minio", "postgres", "api_v2", "api_v2"):
            await _more(load, 150)
            await asyncio.to_thread(own.kill, name)
            await asyncio.to_thread(own.wait_healthy, name)
        await _more(load, 150)
        await asyncio.to_thread(load.__exit__, None, None, None)
        assert set(load.answers) <= {0, 200, 409, 503}
        assert load.answers[0], "no kill broke a request"
        assert min(load.done.values()) > 10
        database = await asyncpg.connect(environment["DATABASE_URL"])
        assert await _written(database) == load.done
        assert await _events(database) == load.done
        await database.close()
        await _no_orphan(second, environment)


async def _no_orphan(api: Api, environment: dict[str, str]) -> None:
    database = await asyncpg.connect(environment["DATABASE_URL"])
    rows = await database.fetch("SELECT regexp_replace(s3_url, '.*/', '') AS key FROM images")
    await database.close()
    pictures = {row["key"] for row in rows}

    async def swept() -> bool:
        return set(await asyncio.to_thread(api.object_keys)) == pictures

    await wait_until_async(swept, 60.0, "a bucket with the pictures of the rows, and no other")
