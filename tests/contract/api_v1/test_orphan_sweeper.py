"""Pictures without a row go, for good; pictures with a row, and what is not ours, stay."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

import gourmetgram.object_store
from api_v1 import orphan_sweeper
from api_v1.image_check import check_image
from api_v1.orphan_sweeper import OrphanSweeper
from gourmetgram.buckets import OWNER_KEY
from gourmetgram.database.pool import Database
from gourmetgram.errors import TransientError
from gourmetgram.object_store import ObjectStore
from gourmetgram.picture_keys import image_id_of
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.api import ANY_AGE_S, Api, picture, running_api, sweeper_of
from tests.support.databases import create_database, drop_database
from tests.support.schemas import execute
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers

HOUR_S = 3600.0


@pytest.fixture
async def sweeper(api_environment: dict[str, str]) -> AsyncIterator[OrphanSweeper]:
    """Takes every picture without a row for old enough; the bucket is marked, and has no orphan yet."""
    async with sweeper_of(api_environment) as made:
        await made.sweep()
        yield made


async def _put(api: Api, key: str | None = None) -> str:
    key = key or f"{uuid.uuid4()}.jpg"
    bucket = api.environment["S3_BUCKET_NAME"]
    await asyncio.to_thread(api.s3.put_object, Bucket=bucket, Key=key, Body=b"x")
    return key


async def _keys(api: Api) -> set[str]:
    return set(await asyncio.to_thread(api.object_keys))


async def _abandoned(api: Api, key: str) -> bool:
    found = "SELECT count(*) FROM abandoned_uploads WHERE image_id = $1"
    return bool(await api.database.fetchval(found, image_id_of(key)))


def _removed() -> float:
    return REGISTRY.get_sample_value("gourmetgram_orphans_removed_total") or 0.0


@asynccontextmanager
async def _second_connection(api: Api) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(api.environment["DATABASE_URL"])
    try:
        yield connection
    finally:
        await connection.close()


def _lock(connection: asyncpg.Connection, mode: str, granted: bool) -> Callable[[], Awaitable[Any]]:
    """Ask whether anybody holds, or waits for, a lock on the table."""
    query = (
        "SELECT count(*) FROM pg_locks WHERE relation = 'abandoned_uploads'::regclass AND mode = $1 AND granted = $2 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return lambda: connection.fetchval(query, mode, granted)


async def test_a_picture_without_a_row_goes_and_everything_else_stays(
    api: Api, sweeper: OrphanSweeper, caplog: pytest.LogCaptureFixture
) -> None:
    kept = {f"{await api.image()}.jpg", await _put(api, "notes.txt"), await _put(api, f"synthetic/{uuid.uuid4()}.jpg")}
    kept |= {await _put(api, f"{uuid.uuid4()}.gif"), await _put(api, f"{str(uuid.uuid4()).upper()}.jpg")}
    orphans = {await _put(api, f"{uuid.uuid4()}.{extension}") for extension in ("jpg", "png", "webp")}
    before = _removed()
    assert await sweeper.sweep() == 3
    left = await _keys(api)
    assert kept <= left
    assert not orphans & left
    assert [await _abandoned(api, key) for key in orphans] == [True] * 3
    assert _removed() == before + 3
    assert "Pictures without a row (an upload was interrupted) that were removed: 3" in caplog.text
    assert await sweeper.sweep() == 0


async def test_a_picture_of_a_deleted_image_stays(api: Api, sweeper: OrphanSweeper) -> None:
    image_id = await api.image()
    await api.database.execute("UPDATE images SET deleted_at = now() WHERE id = $1", image_id)
    await sweeper.sweep()
    assert f"{image_id}.jpg" in await _keys(api)


async def test_a_young_picture_without_a_row_stays(api: Api, api_environment: dict[str, str]) -> None:
    key = await _put(api)
    async with sweeper_of(api_environment, HOUR_S) as patient:
        assert await patient.sweep() == 0
    assert key in await _keys(api)
    assert not await _abandoned(api, key)


async def test_orphans_are_found_on_every_page(
    api: Api, sweeper: OrphanSweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gourmetgram.object_store, "LIST_PAGE", 2)
    await sweeper.sweep()
    kept = {f"{await api.image()}.jpg" for _ in range(4)}
    orphans = {await _put(api) for _ in range(7)}
    assert await sweeper.sweep() == 7
    left = await _keys(api)
    assert kept <= left
    assert not orphans & left


async def test_more_orphans_than_a_crash_can_leave_are_no_orphans(
    api: Api, sweeper: OrphanSweeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await sweeper.sweep()
    monkeypatch.setattr(orphan_sweeper, "MAX_ORPHANS", 3)
    stored = {await _put(api) for _ in range(4)}
    assert await sweeper.sweep() == 0
    assert stored <= await _keys(api)
    assert not any([await _abandoned(api, key) for key in stored])
    assert "More than 3 pictures have no row" in caplog.text
    monkeypatch.setattr(orphan_sweeper, "MAX_ORPHANS", 4)
    assert await sweeper.sweep() == 4


@pytest.mark.parametrize("same_id", [True, False], ids=["restored", "foreign"])
async def test_an_api_that_is_pointed_at_another_database_removes_no_picture(
    same_id: bool,
    api: Api,
    sweeper: OrphanSweeper,
    api_environment: dict[str, str],
    stack: Stack,
    unique_name: UniqueName,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = {f"{await api.image()}.jpg" for _ in range(50)}
    await sweeper.sweep()
    name = unique_name("other")
    url = create_database(stack, name)
    if not same_id:
        execute(url, "UPDATE installation SET id = gen_random_uuid(), sweeps = 1000")
    try:
        async with sweeper_of(api_environment | {"DATABASE_URL": url}) as other:
            assert [await other.sweep() for _ in range(3)] == [0, 0, 0]
    finally:
        drop_database(stack, name)
    assert kept <= await _keys(api)
    assert caplog.text.count("No picture is removed") == 1
    orphan = await _put(api)
    assert await sweeper.sweep() == 1
    assert orphan not in await _keys(api)


async def test_several_sweepers_at_a_time_do_not_disturb_each_other(
    api: Api, sweeper: OrphanSweeper, api_environment: dict[str, str]
) -> None:
    kept = f"{await api.image()}.jpg"
    orphans = {await _put(api) for _ in range(5)}
    async with sweeper_of(api_environment) as other:
        await asyncio.gather(sweeper.sweep(), other.sweep())
    left = await _keys(api)
    assert not orphans & left
    assert kept in left


async def test_an_upload_that_was_swept_before_its_row_is_refused_with_503_and_leaves_nothing(
    api: Api, sweeper: OrphanSweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await api.user()
    await sweeper.sweep()
    before = await api.traces()
    put = ObjectStore.put

    async def slow_put(store: ObjectStore, key: str, data: bytes, content_type: str) -> None:
        await put(store, key, data, content_type)
        if key != OWNER_KEY:
            assert await sweeper.sweep() == 1

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "put", slow_put)
        answer = await api.upload(user_id, picture())
    assert answer.status_code == 503
    assert "Nothing was stored" in answer.json()["detail"]
    assert await api.traces() == before
    assert (await api.upload(user_id, picture())).status_code == 200


async def test_only_the_swept_one_of_a_batch_of_uploads_is_refused(
    api: Api, sweeper: OrphanSweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await api.user()
    put = ObjectStore.put
    all_stored = asyncio.Barrier(6)
    swept: list[str] = []

    async def slow_put(store: ObjectStore, key: str, data: bytes, content_type: str) -> None:
        await put(store, key, data, content_type)
        if not swept:
            swept.append(key)
            await api.database.execute("INSERT INTO abandoned_uploads (image_id) VALUES ($1)", image_id_of(key))
        await all_stored.wait()

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "put", slow_put)
        answers = await asyncio.gather(*(api.upload(user_id, picture()) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [503]
    images = {f"{answer.json()['id']}.jpg" for answer in answers if answer.status_code == 200}
    assert images <= await _keys(api)

    async def gone() -> bool:
        return swept[0] not in await _keys(api)

    await wait_until_async(gone, what="the removal of the refused upload's picture")


async def test_the_sweep_waits_for_an_upload_whose_row_is_being_written_and_keeps_its_picture(
    api: Api, sweeper: OrphanSweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan_sweeper, "LOCK_WAIT_MS", 1_800)
    user_id = await api.user()
    await sweeper.sweep()
    async with _second_connection(api) as other:
        lock = other.transaction()
        await lock.start()
        await other.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)
        upload = asyncio.create_task(api.upload(user_id, picture()))
        await wait_until_async(_lock(api.database, "AccessShareLock", granted=True), 1.5, "the upload's statement")
        sweep = asyncio.create_task(sweeper.sweep())
        await wait_until_async(_lock(api.database, "AccessExclusiveLock", granted=False), 1.5, "the waiting sweep")
        await lock.rollback()
    answer = await upload
    assert answer.status_code == 200, answer.text
    assert await sweep == 0
    assert f"{answer.json()['id']}.jpg" in await _keys(api)


async def test_a_sweep_that_cannot_have_its_lock_removes_nothing_and_no_upload_is_refused_for_it(
    api: Api, sweeper: OrphanSweeper
) -> None:
    user_id = await api.user()
    key = await _put(api)
    async with _second_connection(api) as other, other.transaction():
        # As a dump of the database would.
        await other.execute("LOCK TABLE abandoned_uploads IN ACCESS SHARE MODE")
        sweep = asyncio.create_task(sweeper.sweep())
        waits = _lock(api.database, "AccessExclusiveLock", granted=False)

        async def waits_or_waited() -> bool:
            return bool(await waits()) or sweep.done()

        await wait_until_async(waits_or_waited, what="the waiting sweep")
        answers = await asyncio.gather(*(api.upload(user_id, picture()) for _ in range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8
        with pytest.raises(TransientError, match="lock timeout"):
            await sweep
    assert key in await _keys(api)
    assert not await _abandoned(api, key)
    assert await sweeper.sweep() == 1


async def test_an_upload_that_waited_for_the_sweep_sees_what_it_gave_up(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statement began before the id was committed: what counts is that it looks afterwards."""
    user_id = await api.user()
    put = ObjectStore.put
    async with _second_connection(api) as other:
        lock = other.transaction()
        await lock.start()
        await other.execute("LOCK TABLE abandoned_uploads IN ACCESS EXCLUSIVE MODE")

        async def noted_put(store: ObjectStore, key: str, data: bytes, content_type: str) -> None:
            await put(store, key, data, content_type)
            await other.execute("INSERT INTO abandoned_uploads (image_id) VALUES ($1)", image_id_of(key))

        with monkeypatch.context() as patched:
            patched.setattr(ObjectStore, "put", noted_put)
            upload = asyncio.create_task(api.upload(user_id, picture()))
            await wait_until_async(_lock(api.database, "AccessShareLock", granted=False), 1.5, "the upload's statement")
            await lock.commit()
            assert (await upload).status_code == 503


async def test_a_picture_whose_row_is_committed_just_before_the_lock_is_kept(
    api: Api, sweeper: OrphanSweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await api.user()
    await sweeper.sweep()
    late, orphan = await _put(api), await _put(api)
    execute = Database.execute

    async def late_execute(database: Database, script: str) -> None:
        insert = "INSERT INTO images (id, user_id, s3_url) VALUES ($1, $2, $3)"
        await api.database.execute(insert, image_id_of(late), user_id, late)
        await execute(database, script)

    with monkeypatch.context() as patched:
        patched.setattr(Database, "execute", late_execute)
        assert await sweeper.sweep() == 1
    left = await _keys(api)
    assert late in left
    assert orphan not in left
    assert not await _abandoned(api, late)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_running_api_sweeps_soon_after_its_start_and_goes_on(
    version: int, api_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan_sweeper, "FIRST_SWEEP_MARGIN_S", 0.5)
    monkeypatch.setattr(orphan_sweeper, "SWEEP_EVERY_S", 0.5)
    async with running_api(version, api_environment | {"ORPHAN_AFTER_SECONDS": "5"}) as api:
        for _ in range(2):
            kept, orphan = f"{await api.image()}.jpg", await _put(api)

            async def gone(orphan: str = orphan) -> bool:
                return orphan not in await _keys(api)

            await wait_until_async(gone, 30.0, "the orphan's removal")
            assert kept in await _keys(api)
        assert "gourmetgram_orphans_removed_total" in (await api.http.get("/metrics")).text


async def test_a_store_that_is_away_is_logged_once_and_tried_until_it_is_back(
    api_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orphan_sweeper, "FIRST_SWEEP_MARGIN_S", -ANY_AGE_S)
    monkeypatch.setattr(orphan_sweeper, "RETRY_MAX_S", 0.1)
    attempts: list[None] = []
    sweep = OrphanSweeper.sweep

    async def counted_sweep(sweeper: OrphanSweeper) -> int:
        attempts.append(None)
        return await sweep(sweeper)

    monkeypatch.setattr(OrphanSweeper, "sweep", counted_sweep)
    caplog.set_level("INFO", logger="api_v1.orphan_sweeper")
    environment = api_environment | {"S3_BUCKET_NAME": f"late-{uuid.uuid4().hex}"}
    async with running_api(1, environment) as api, sweeper_of(environment) as sweeper:
        await sweeper.start()

        async def several() -> bool:
            return len(attempts) > 3

        await wait_until_async(several, what="attempts")
        await asyncio.to_thread(api.s3.create_bucket, Bucket=environment["S3_BUCKET_NAME"])

        async def well() -> bool:
            return "search for orphans works again" in caplog.text

        await wait_until_async(well, what="the good news")
        await asyncio.wait_for(sweeper.stop(), 1.0)
    said = [record.message.split(":")[0] for record in caplog.records if record.name == "api_v1.orphan_sweeper"]
    assert said == [
        "The search for orphans failed and will be repeated",
        "The search for orphans works again",
    ]


async def test_a_mistake_does_not_end_the_sweeper(
    api: Api, sweeper: OrphanSweeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orphan_sweeper, "FIRST_SWEEP_MARGIN_S", -ANY_AGE_S)
    monkeypatch.setattr(orphan_sweeper, "SWEEP_EVERY_S", 0.05)
    sweep = OrphanSweeper.sweep
    mistakes = iter([ValueError("a mistake"), None])

    async def mistaken_sweep(sweeper: OrphanSweeper) -> int:
        if (mistake := next(mistakes, None)) is not None:
            raise mistake
        return await sweep(sweeper)

    monkeypatch.setattr(OrphanSweeper, "sweep", mistaken_sweep)
    orphan = await _put(api)
    await sweeper.start()

    async def gone() -> bool:
        return orphan not in await _keys(api)

    await wait_until_async(gone, what="the orphan's removal")
    await asyncio.wait_for(sweeper.stop(), 1.0)
    assert "a mistake" in caplog.text


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_every_format_that_an_upload_stores_has_a_name_that_the_sweeper_knows(format_name: str) -> None:
    image_id = uuid.uuid4()
    extension = check_image(picture(format_name), 10_000).extension
    assert image_id_of(f"{image_id}.{extension}") == image_id
