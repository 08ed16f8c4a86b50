"""The API while its stores fail: fast and truthful answers, and nothing lost or left behind."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest

from gourmetgram.database.group_commit import SERVER_RUN
from gourmetgram_tools.local.stack import Stack
from tests.support.api import Api, picture, running_api
from tests.support.own_stack import own_stack
from tests.support.waiting import wait_until_async

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(400)]

# The contract's limits, with room for a machine that is busy with other tests.
ANSWER_S = 6.0
STOP_S = 6.0

# More events than a relay publishes in the seconds of a stop.
_BACKLOG = """
INSERT INTO event_outbox (event_id, topic, message_key, payload, created_at)
SELECT gen_random_uuid(), $1, $2::text, jsonb_build_object('image_id', $2::text, 'filler', repeat('x', 200)), now()
FROM generate_series(1, 200000)"""


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """Servers that these tests may stop."""
    with own_stack("api-faults") as stack:
        stack.up(services=())
        yield stack


@pytest.fixture
def environment(own: Stack) -> dict[str, str]:
    """Variables of an API on these servers."""
    unwanted = ("REDIS_", "GENERATOR_", "KAFKA_TOPICS")
    return {name: value for name, value in own.environment().items() if not name.startswith(unwanted)}


@pytest.fixture
async def api(own: Stack, environment: dict[str, str]) -> AsyncIterator[Api]:
    """Version 2, connected to everything."""
    async with running_api(2, environment) as running:
        await _healthy(running)
        yield running


async def _healthy(api: Api) -> None:
    async def ready() -> bool:
        return (await api.http.get("/ready")).status_code == 200

    await wait_until_async(ready, 60.0, "readiness")


async def _published(database: asyncpg.Connection) -> None:
    async def empty() -> bool:
        return not await database.fetchval("SELECT count(*) FROM event_outbox WHERE published_at IS NULL")

    await wait_until_async(empty, 60.0, "an empty outbox")


async def _statuses(calls: list[Any]) -> Counter[int]:
    answers = await asyncio.wait_for(asyncio.gather(*calls), ANSWER_S)
    return Counter(answer.status_code for answer in answers)


async def _accepted(calls: list[Callable[[], Awaitable[httpx.Response]]]) -> None:
    """Make them as a client would: again when refused with 503, which leaves nothing.

    While other tests' servers start, this process may get a tenth of a processor, and the database's answers come too
    late for a request. What waits for the broker would wait until the test ends.
    """

    async def until_accepted(call: Callable[[], Awaitable[httpx.Response]]) -> None:
        async def accepted() -> bool:
            status = (await call()).status_code
            assert status in (200, 503)
            return status == 200

        await wait_until_async(accepted, 60.0, "an accepted request")

    await asyncio.wait_for(asyncio.gather(*(until_accepted(call) for call in calls)), 60.0)


async def test_without_a_broker_requests_are_answered_and_events_follow_after_its_return(own: Stack, api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    await api.events("upload", image_id)
    await asyncio.to_thread(own.stop, "kafka")
    try:
        await _accepted([partial(api.view, image_id)] * 100)
        await _accepted([partial(api.comment, image_id, user_id, str(number)) for number in range(20)])

        async def told() -> Any:
            body = (await api.http.get("/health")).json()
            return body if not body["kafka_enabled"] and body["kafka_stats"]["outbox_pending"] == 120 else None

        body = await wait_until_async(told, 20.0, "the truth in /health")
        assert body["status"] == "degraded"
        ready = await api.http.get("/ready")
        assert (ready.status_code, ready.json()["checks"]["kafka"]) == (503, False)
    finally:
        await asyncio.to_thread(own.start, "kafka")
    await _published(api.database)
    views = await api.events("view", image_id, 100)
    comments = await api.events("comment", image_id, 20)
    assert len({event["event_id"] for event in views}) == 100
    assert [event["content"] for event in comments] == sorted(
        (event["content"] for event in comments), key=[e["content"] for e in comments].index
    )
    assert sorted(int(event["content"]) for event in comments) == list(range(20))
    times = [event["viewed_at"] for event in views]
    assert times == sorted(times)
    await _healthy(api)


async def test_an_api_that_starts_without_a_broker_publishes_once_there_is_one(
    own: Stack, environment: dict[str, str]
) -> None:
    await asyncio.to_thread(own.stop, "kafka")
    try:
        async with running_api(2, environment) as api:
            image_id = await api.image()
            await _accepted([partial(api.view, image_id)] * 10)
            await asyncio.to_thread(own.start, "kafka")
            await _published(api.database)
            assert len(await api.events("view", image_id, 10)) == 10
    finally:
        await asyncio.to_thread(own.start, "kafka")


async def test_a_frozen_database_means_503_without_a_row_and_a_live_health_page(own: Stack, api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    await _published(api.database)
    before = await api.traces()
    await asyncio.to_thread(own.pause, "postgres")
    try:
        statuses = await _statuses(
            [
                *(api.view(image_id) for _ in range(20)),
                *(api.comment(image_id, user_id) for _ in range(20)),
                api.http.get("/images/"),
                api.flag(user_id=user_id, image_id=image_id),
                api.upload(user_id, picture()),
                api.http.post("/users/", json={"username": "frozen"}),
            ]
        )
        assert statuses == {503: 44}
        assert (await asyncio.wait_for(api.http.get("/health"), 2)).status_code == 200
        assert (await asyncio.wait_for(api.http.get("/ready"), 5)).status_code == 503
    finally:
        await asyncio.to_thread(own.resume, "postgres")
    # What the frozen server finds in its sockets when it wakes up must not become rows.
    assert (await api.view(image_id)).status_code == 200
    await _healthy(api)
    after = await api.traces()
    assert after["views"] == before["views"] + 1
    for name in ("users", "images", "comments", "flags", "objects"):
        assert after[name] == before[name], name


async def test_after_a_restart_of_the_database_the_next_request_succeeds(own: Stack, api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    await asyncio.gather(*(api.view(image_id) for _ in range(20)), *(api.http.get("/images/") for _ in range(8)))
    await asyncio.to_thread(own.restart, "postgres")
    assert (await api.http.get("/images/")).status_code == 200
    assert (await api.view(image_id)).json()["views"] == 21
    assert (await api.comment(image_id, user_id)).status_code == 200
    assert (await api.http.post("/users/", json={"username": "after restart"})).status_code == 200
    assert (await api.upload(user_id, picture())).status_code == 200
    assert len(await api.events("comment", image_id)) == 1


async def test_a_killed_database_loses_no_answered_view_and_counts_none_twice(own: Stack, api: Api) -> None:
    image_id = await api.image()
    answered = unknown = 0
    stop = asyncio.Event()

    async def viewer() -> None:
        nonlocal answered, unknown
        while not stop.is_set():
            # Not `answered += (await …)`: that reads the old value before it waits.
            answer = await api.view(image_id)
            answered += answer.status_code == 200
            unknown += "It is not known" in answer.text

    viewers = [asyncio.create_task(viewer()) for _ in range(16)]

    async def busy(more_than: int) -> None:
        async def reached() -> bool:
            return answered > more_than

        await wait_until_async(reached, 60.0, "answered views")

    await busy(300)
    await asyncio.to_thread(own.kill, "postgres")
    await asyncio.to_thread(own.wait_healthy, "postgres")
    await busy(answered + 300)
    stop.set()
    await asyncio.gather(*viewers)
    database = await asyncpg.connect(api.environment["DATABASE_URL"])
    views = await database.fetchval("SELECT views FROM images WHERE id = $1", image_id)
    # One batch at most was committed during the crash.
    assert answered <= views <= answered + unknown <= answered + len(viewers)
    await _published(database)
    await database.close()
    events = await api.events("view", image_id, views)
    assert len({event["event_id"] for event in events}) == views


async def test_a_crash_of_the_server_shows_in_its_statistics_and_a_restart_of_its_clients_does_not(own: Stack) -> None:
    """By this sign, a writer knows that PostgreSQL may have given the id of a lost transaction to another one."""

    async def server_run() -> object:
        connection = await asyncpg.connect(own.postgres.url())
        try:
            return await connection.fetchval(SERVER_RUN)
        finally:
            await connection.close()

    before = await server_run()
    assert await server_run() == before
    await asyncio.to_thread(own.kill, "postgres")
    await asyncio.to_thread(own.wait_healthy, "postgres")
    assert await server_run() != before


async def test_a_stalled_object_store_stops_uploads_only_and_leaves_no_orphan(own: Stack, api: Api) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.traces()
    await asyncio.to_thread(own.pause, "minio")
    try:
        uploads = [asyncio.create_task(api.upload(user_id, picture(seed=number))) for number in range(6)]
        for _ in range(20):
            assert (await asyncio.wait_for(api.http.get("/health"), 2)).status_code == 200
            assert (await api.view(image_id)).status_code == 200
        assert await _statuses(uploads) == {503: 6}
        ready = await asyncio.wait_for(api.http.get("/ready"), 5)
        assert (ready.status_code, ready.json()["checks"]["object_store"]) == (503, False)
    finally:
        await asyncio.to_thread(own.resume, "minio")

    async def no_orphan() -> bool:
        return (await api.traces())["objects"] == before["objects"]

    assert (await api.upload(user_id, picture())).status_code == 200
    before["objects"] += 1
    await wait_until_async(no_orphan, 30.0, "the removal of what the woken store had still written")
    assert (await api.traces())["images"] == before["images"] + 1


async def test_a_killed_api_with_a_full_outbox_loses_nothing(own: Stack, environment: dict[str, str]) -> None:
    await asyncio.to_thread(own.start, "api_v2")
    database = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.ports.api}", timeout=30) as http:
            api = Api(2, http, database, environment)
            image_id = await api.image()
            await _healthy(api)
            await asyncio.to_thread(own.stop, "kafka")
            answers = await asyncio.gather(*(api.view(image_id) for _ in range(500)))
            assert {answer.status_code for answer in answers} == {200}
            assert await api.waiting() >= 500
            await asyncio.to_thread(own.kill, "api_v2")
            await asyncio.to_thread(own.start, "kafka")
            await asyncio.to_thread(own.wait_healthy, "api_v2")
            await _published(database)
            events = await api.events("view", image_id, 500)
            assert len({event["event_id"] for event in events}) == 500
    finally:
        await database.close()
        await asyncio.to_thread(own.start, "kafka")
        await asyncio.to_thread(own.stop, "api_v2")


async def test_an_api_with_a_stalled_upload_and_a_full_outbox_ends_in_time_and_loses_nothing(
    own: Stack, environment: dict[str, str]
) -> None:
    await asyncio.to_thread(own.start, "api_v2")
    database = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.ports.api}", timeout=30) as http:
            api = Api(2, http, database, environment)
            image_id = await api.image()
            await _healthy(api)
            reader, writer = await asyncio.open_connection("127.0.0.1", own.ports.api)
            form = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n--b\r\n"
            writer.write(b"POST /upload/ HTTP/1.1\r\nHost: x\r\n" + form)
            await database.execute(_BACKLOG, environment["KAFKA_TOPIC_VIEWS"], image_id)
            assert (await api.view(image_id)).status_code == 200  # the relay now knows that it has work
            began = time.monotonic()
            await asyncio.to_thread(own.stop, "api_v2")
            took_s = time.monotonic() - began
            assert await api.waiting() > 0, "the outbox was not busy until the end"
        answer = await asyncio.wait_for(reader.read(), 10)
        assert b" 503 " in answer.splitlines()[0]
        assert b"Nothing was stored" in answer
        writer.close()
        assert took_s < STOP_S
    finally:
        await database.execute("DELETE FROM event_outbox WHERE published_at IS NULL")
        await database.close()
        await asyncio.to_thread(own.stop, "api_v2")


async def test_a_terminated_api_answers_what_it_accepted_and_ends_cleanly(
    own: Stack, environment: dict[str, str]
) -> None:
    await asyncio.to_thread(own.start, "api_v2")
    database = await asyncpg.connect(environment["DATABASE_URL"])
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.ports.api}", timeout=30) as http:
        api = Api(2, http, database, environment)
        image_id = await api.image()

        async def viewer() -> int:
            answered = 0
            while True:
                try:
                    answered += (await api.view(image_id)).status_code == 200
                except httpx.TransportError:
                    return answered

        viewers = [asyncio.create_task(viewer()) for _ in range(8)]

        async def busy() -> bool:
            return int(await database.fetchval("SELECT views FROM images WHERE id = $1", image_id)) > 100

        await wait_until_async(busy, 30.0, "views")
        await asyncio.to_thread(own.stop, "api_v2")
        answered = sum(await asyncio.gather(*viewers))
    assert await database.fetchval("SELECT views FROM images WHERE id = $1", image_id) == answered
    await database.close()
