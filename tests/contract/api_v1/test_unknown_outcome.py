"""Writes whose commit is never answered because the network to PostgreSQL fails: their outcome is unknown."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import httpx
import pytest

from tests.support.api import Api, picture, running_api, sweeper_of
from tests.support.proxy import Proxy, proxy_to, through
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers

COMMIT = b"COMMIT\0"
UNKNOWN = "It is not known whether the change was stored"

Write = Callable[[Api, str, str], Awaitable[httpx.Response]]

WRITES: dict[str, Write] = {
    "views": lambda api, image_id, _: api.view(image_id),
    "comments": lambda api, image_id, user_id: api.comment(image_id, user_id),
    "flags": lambda api, image_id, user_id: api.flag(image_id=image_id, user_id=user_id),
    "images": lambda api, _, user_id: api.upload(user_id, picture()),
}


@pytest.fixture
async def proxy(api_environment: dict[str, str]) -> AsyncIterator[Proxy]:
    """The network between the API and PostgreSQL."""
    async with proxy_to(api_environment["DATABASE_URL"]) as running:
        yield running


@pytest.fixture
async def api(api_environment: dict[str, str], proxy: Proxy) -> AsyncIterator[Api]:
    """An API behind that network; its tests look at the database past it."""
    url = api_environment["DATABASE_URL"]
    async with running_api(2, {**api_environment, "DATABASE_URL": through(proxy, url)}) as running:
        await running.database.close()
        running.database = await asyncpg.connect(url)
        yield running
        await running.database.close()


def _says_unknown(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and UNKNOWN in answer.json()["detail"] and "retry-after" not in answer.headers


def _says_nothing_stored(answer: httpx.Response) -> bool:
    detail = answer.json()["detail"]
    return answer.status_code == 503 and "Nothing was stored" in detail and answer.headers["retry-after"] == "1"


async def _until(api: Api, name: str, number: int) -> None:
    """Wait until so many of a thing are stored."""

    async def stored() -> bool:
        return (await api.traces())[name] == number

    await wait_until_async(stored, what=f"{number} {name}")


@pytest.mark.parametrize("kind", WRITES)
async def test_a_write_whose_commit_arrives_and_is_never_answered_is_unknown_and_stored_once(
    api: Api, proxy: Proxy, kind: str
) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.traces()
    proxy.once_sent(COMMIT, proxy.cut)
    answer = await WRITES[kind](api, image_id, user_id)
    assert _says_unknown(answer), answer.text
    proxy.heal()
    await _until(api, kind, before[kind] + 1)
    assert (await api.view(image_id)).status_code == 200


@pytest.mark.parametrize("kind", WRITES)
async def test_a_write_whose_connection_breaks_before_the_commit_certainly_stored_nothing(
    api: Api, proxy: Proxy, kind: str
) -> None:
    user_id = await api.user()
    image_id = await api.image(user_id)
    before = await api.traces()
    proxy.once_sent(b"BEGIN; SET LOCAL", proxy.cut)
    answer = await WRITES[kind](api, image_id, user_id)
    assert _says_nothing_stored(answer), answer.text
    proxy.heal()
    assert (await api.view(image_id)).status_code == 200
    await _until(api, "views", before["views"] + 1)
    await _until(api, "objects", before["objects"])
    assert {**await api.traces(), "views": 0, "events": 0} == {**before, "views": 0, "events": 0}


async def test_an_upload_whose_end_is_unknown_keeps_its_picture_because_its_row_may_be_stored(
    api: Api, proxy: Proxy, api_environment: dict[str, str]
) -> None:
    user_id = await api.user()
    before = await api.traces()
    proxy.once_sent(COMMIT, proxy.cut)
    answers = await asyncio.gather(*(api.upload(user_id, picture(seed=number)) for number in range(4)))
    assert any(_says_unknown(answer) for answer in answers)
    assert all(_says_unknown(answer) or _says_nothing_stored(answer) for answer in answers)
    proxy.heal()
    number = sum(_says_unknown(answer) for answer in answers)
    await _until(api, "images", before["images"] + number)
    # Those of certain failures go at once; then the sweep finds a row for each of the others.
    await _until(api, "objects", before["objects"] + number)
    async with sweeper_of(api_environment) as sweeper:
        assert await sweeper.sweep() == 0
    urls = await api.database.fetch("SELECT s3_url FROM images WHERE user_id = $1", user_id)
    assert {url.rpartition("/")[2] for (url,) in urls} <= set(await asyncio.to_thread(api.object_keys))


async def test_an_upload_whose_end_is_unknown_and_whose_row_is_missing_loses_its_picture_to_the_sweep(
    api: Api, proxy: Proxy, api_environment: dict[str, str]
) -> None:
    user_id = await api.user()
    before = await api.traces()
    proxy.before_sending(COMMIT, proxy.cut)
    assert _says_unknown(await api.upload(user_id, picture()))
    assert (await api.traces())["objects"] == before["objects"] + 1
    proxy.heal()
    async with sweeper_of(api_environment) as sweeper:
        assert await sweeper.sweep() == 1
    after = await api.traces()
    assert (after["images"], after["objects"]) == (before["images"], before["objects"])


async def test_a_user_who_was_created_but_cannot_be_read_is_not_called_not_stored(api: Api, proxy: Proxy) -> None:
    before = await api.traces()
    name = f"unread-{uuid.uuid4()}"
    proxy.once_sent(COMMIT, lambda: proxy.before_sending(name.encode(), proxy.cut))
    assert _says_unknown(await api.http.post("/users/", json={"username": name}))
    await _until(api, "users", before["users"] + 1)
