"""An image whose row another transaction holds: requests for it wait and fail in time; all others go on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from prometheus_client import REGISTRY

from tests.support.api import Api

pytestmark = pytest.mark.servers

CLIENTS = 64
ON_LOCKED = 6
"""Clients of the locked image: about a tenth."""

MOST_WAITS = 3
"""Batches that may wait in vain for the lock: the first one, and one more after each failed look at the lock."""

Write = Callable[[str], Awaitable[httpx.Response]]


@pytest.fixture
def api(api_v2: Api) -> Api:
    """Version 2: its statements are those of version 1, with events."""
    return api_v2


@asynccontextmanager
async def held_row(api: Api, image_id: str, strength: str) -> AsyncIterator[None]:
    """Another program's transaction that holds the image's row, like a psql that was left open."""
    program = await asyncpg.connect(api.environment["DATABASE_URL"])
    transaction = program.transaction()
    await transaction.start()
    await program.execute(f"SELECT FROM images WHERE id = $1 FOR {strength}", image_id)
    try:
        yield
    finally:
        await transaction.rollback()
        await program.close()


def rolled_back(kind: str) -> float:
    """Batches of this process that were rolled back so far."""
    return REGISTRY.get_sample_value("gourmetgram_group_commit_failed_batches_total", {"kind": kind}) or 0.0


async def load(write: Write, locked: str, free: list[str], refusals: int) -> tuple[Counter[int], Counter[int]]:
    """Send requests with all clients until so many for the locked image were answered: its statuses, the others'."""
    ended = asyncio.Event()
    on_locked: Counter[int] = Counter()
    on_free: Counter[int] = Counter()

    async def client(number: int) -> None:
        image_id, statuses = (locked, on_locked) if number < ON_LOCKED else (free[number % len(free)], on_free)
        while not ended.is_set():
            answer = await write(image_id)
            statuses[answer.status_code] += 1
            if on_locked.total() >= refusals:
                ended.set()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return on_locked, on_free


async def test_a_held_row_slows_the_views_of_its_own_image_only(api: Api) -> None:
    user_id = await api.user()
    locked, *free = [await api.image(user_id) for _ in range(8)]
    before = rolled_back("views")
    async with held_row(api, locked, "NO KEY UPDATE"):
        on_locked, on_free = await load(api.view, locked, free, refusals=2 * ON_LOCKED)
    assert on_locked.keys() == {503}
    assert on_free.keys() == {200}
    assert rolled_back("views") - before <= MOST_WAITS
    counted = await api.database.fetch("SELECT views FROM images WHERE id = ANY($1)", free)
    assert sum(row["views"] for row in counted) == on_free.total()
    assert (await api.view(locked)).json()["views"] == 1


@pytest.mark.parametrize("kind", ["comments", "flags"])
async def test_a_held_row_slows_what_refers_to_its_own_image_only(api: Api, kind: str) -> None:
    user_id = await api.user()
    locked, *free = [await api.image(user_id) for _ in range(8)]

    async def write(image_id: str) -> httpx.Response:
        if kind == "comments":
            return await api.comment(image_id, user_id)
        return await api.flag(image_id=image_id, user_id=user_id)

    before = rolled_back(kind)
    async with held_row(api, locked, "UPDATE"):
        on_locked, on_free = await load(write, locked, free, refusals=2 * ON_LOCKED)
    assert on_locked.keys() == {503}
    assert on_free.keys() == {200}
    assert rolled_back(kind) - before <= MOST_WAITS
    assert (await write(locked)).status_code == 200


async def test_a_view_of_an_image_whose_row_is_free_again_is_counted_and_every_view_once(api: Api) -> None:
    user_id = await api.user()
    locked, free = await api.image(user_id), await api.image(user_id)
    async with held_row(api, locked, "NO KEY UPDATE"):
        waiting = [asyncio.create_task(api.view(locked)) for _ in range(10)]
        # The others are answered although the first batches hold views of the locked image.
        answers = await asyncio.gather(*(api.view(free) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert not any(task.done() for task in waiting)
    answers = await asyncio.gather(*waiting)
    assert sorted(answer.json()["views"] for answer in answers) == list(range(1, 11))


async def test_views_of_an_unknown_image_beside_a_held_row_are_404_and_not_503(api: Api) -> None:
    locked = await api.image()
    unknown = "00000000-0000-4000-8000-000000000000"
    async with held_row(api, locked, "NO KEY UPDATE"):
        answers = await asyncio.gather(*(api.view(image_id) for image_id in [locked, unknown] * 5))
    assert [answer.status_code for answer in answers] == [503, 404] * 5
