"""Pictures of a bucket that the database does not own stay, whatever rows the database has."""

import logging
import uuid
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from api_v1.orphan_sweeper import OrphanSweeper
from gourmetgram.buckets import OWNER_KEY
from gourmetgram.database.installation import COUNT_SWEEP, INSTALLATION
from gourmetgram.database.pool import Database
from gourmetgram.object_store import Listed, ObjectStore

LONG_AGO = datetime(2026, 5, 17, tzinfo=UTC)


class Rows:
    """A database with an id and the ids of its images."""

    def __init__(self, images: set[uuid.UUID], sweeps: int = 0) -> None:
        self.id = str(uuid.uuid4())
        self.images = images
        self.sweeps = sweeps
        self.abandoned: set[uuid.UUID] = set()

    async def fetch(self, sql: str, *arguments: Any, deadline: float | None = None) -> Sequence[dict[str, Any]]:
        if sql in (INSTALLATION, COUNT_SWEEP):
            self.sweeps += sql == COUNT_SWEEP
            return [{"id": self.id, "sweeps": self.sweeps}]
        (ids,) = arguments
        if "image_id" in sql:
            return [{"image_id": each} for each in ids if each not in self.images]
        return [{"id": each} for each in ids if each not in self.images]

    async def execute(self, script: str) -> None:
        pass


class Bucket:
    """Objects by key."""

    def __init__(self, pictures: set[uuid.UUID]) -> None:
        self.objects = {f"{image_id}.jpg": b"x" for image_id in pictures}

    @property
    def pictures(self) -> int:
        return len(self.objects.keys() - {OWNER_KEY})

    async def read(self, key: str) -> bytes | None:
        return self.objects.get(key)

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        self.objects[key] = data

    async def pages(self) -> AsyncGenerator[list[Listed], None]:
        yield [Listed(key, LONG_AGO) for key in self.objects]

    async def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self.objects[key]


def sweeper(rows: Rows, bucket: Bucket) -> OrphanSweeper:
    return OrphanSweeper(cast(Database, rows), cast(ObjectStore, bucket), timedelta(minutes=1).total_seconds())


def ids(number: int) -> set[uuid.UUID]:
    return {uuid.uuid4() for _ in range(number)}


@pytest.mark.parametrize("marked", [True, False])
async def test_an_api_that_is_pointed_at_another_database_removes_none_of_fifty_pictures(
    marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    images = ids(50)
    bucket = Bucket(images)
    if marked:
        await sweeper(Rows(images), bucket).sweep()
    other = sweeper(Rows(set()), bucket)
    assert [await other.sweep() for _ in range(3)] == [0, 0, 0]
    assert bucket.pictures == 50
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "gourmetgram adopt pictures" in caplog.text


async def test_a_database_that_was_restored_to_an_earlier_state_removes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = ids(20)
    rows, bucket = Rows(set(images)), Bucket(images)
    await sweeper(rows, bucket).sweep()
    backup = rows.sweeps
    await sweeper(rows, bucket).sweep()
    rows.sweeps, rows.images = backup, set()
    restored = sweeper(rows, bucket)
    assert [await restored.sweep() for _ in range(3)] == [0, 0, 0]
    assert bucket.pictures == 20
    assert "restored from a backup" in caplog.text


async def test_orphans_of_the_own_database_go_also_when_they_are_most_of_the_pictures() -> None:
    rows, bucket = Rows(set()), Bucket(set())
    own = sweeper(rows, bucket)
    await own.sweep()
    bucket.objects |= {f"{image_id}.png": b"x" for image_id in ids(3)}
    assert await own.sweep() == 3
    assert bucket.pictures == 0


async def test_a_bucket_of_an_earlier_version_is_marked_once_nearly_all_of_its_pictures_have_a_row() -> None:
    images = ids(10)
    rows, bucket = Rows(set(images)), Bucket(images | ids(3))
    own = sweeper(rows, bucket)
    assert await own.sweep() == 0
    assert OWNER_KEY not in bucket.objects
    more = ids(2)
    rows.images |= more
    bucket.objects |= {f"{image_id}.jpg": b"x" for image_id in more}
    assert await own.sweep() == 3
    assert bucket.pictures == 12


async def test_several_processes_of_one_database_share_the_bucket() -> None:
    images = ids(10)
    rows, bucket = Rows(images), Bucket(images)
    first, second = sweeper(rows, bucket), sweeper(rows, bucket)
    for _ in range(3):
        assert await first.sweep() == 0
        assert await second.sweep() == 0
    bucket.objects |= {f"{image_id}.jpg": b"x" for image_id in ids(1)}
    assert await second.sweep() == 1
