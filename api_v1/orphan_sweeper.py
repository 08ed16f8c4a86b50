"""Sweep of orphans: pictures without a row, left by uploads whose process was killed between picture and row.

An upload leaves no record before it begins, because that would cost each upload a write. Instead the bucket is listed
from time to time, and a picture that has had no row for long enough is removed:

1. Its image's id is written into `abandoned_uploads`, unless there is a row by now. A lock waits
   for every upload statement in progress. Each later statement sees the id and refuses the image (statements.py).
   From then on no row can come, not even by a statement that sat in the socket of a frozen server.
2. The picture is removed.

Pictures of another database, or of a later state of this one, are no orphans: the bucket carries the mark of its owner
(picture_owner.py).

No order of events leaves a row without its picture, even with wrong clocks: a sweep that is too early fails an upload,
and its client gets an error. Each step may be repeated, by several processes at a time.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from api_v1.background import BackgroundTask
from api_v1.metrics import ORPHANS_REMOVED
from api_v1.picture_owner import PictureOwner
from gourmetgram.database.pool import Database
from gourmetgram.errors import TransientError
from gourmetgram.object_store import Listed, ObjectStore
from gourmetgram.picture_keys import image_id_of

log = logging.getLogger(__name__)

SWEEP_EVERY_S: Final = 600.0
FIRST_SWEEP_MARGIN_S: Final = 1.0
"""Time from the moment at which all orphans of a killed predecessor are old enough to the first sweep, seconds."""

RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0

LOCK_WAIT_MS: Final = 250
"""Longest wait of the sweeper for its lock. Uploads queue behind it, so it is shorter than their own shortest wait
(SINGLE_LOCK_WAIT_S in group_commit.py): then none is refused for it. A lock that another program holds for longer, like
a dump of the database, delays the sweep."""

MAX_ORPHANS: Final = 200
"""Largest number of orphans of a crash: a killed process leaves at most its uploads in progress. With more pictures
without a row nothing is removed."""

ORPHANS_REMOVED_AT_ONCE: Final = 100

_WITHOUT_ROW: Final = """
SELECT id FROM unnest($1::uuid[]) AS wanted (id)
WHERE NOT EXISTS (SELECT FROM images WHERE images.id = wanted.id)
"""
_ABANDON: Final = """
SET LOCAL lock_timeout = {lock_wait_ms};
LOCK TABLE abandoned_uploads IN ACCESS EXCLUSIVE MODE;
INSERT INTO abandoned_uploads (image_id)
SELECT id FROM unnest('{{{ids}}}'::uuid[]) AS wanted (id)
WHERE NOT EXISTS (SELECT FROM images WHERE images.id = wanted.id)
ON CONFLICT DO NOTHING
"""
"""A separate statement checks the rows again after the lock: each statement has its own snapshot, and this one is taken
while no upload statement runs."""

_ABANDONED: Final = "SELECT image_id FROM abandoned_uploads WHERE image_id = ANY($1::uuid[])"


class OrphanSweeper(BackgroundTask):
    """Removes orphans. Any number of processes may do so at the same time.

    Args:
        database: database with the rows.
        objects: the pictures' bucket.
        age_s: smallest age of an orphan that is removed, seconds.
    """

    def __init__(self, database: Database, objects: ObjectStore, age_s: float) -> None:
        super().__init__()
        self._database = database
        self._objects = objects
        self._owner = PictureOwner(database, objects)
        self._age_s = age_s
        self._retry_s = 0.0
        """The last pause after a failure; 0 after a success."""

    async def sweep(self) -> int:
        """List the bucket once and remove orphans.

        Returns:
            Number of removed pictures.

        Raises:
            TransientError: a store is away or too slow, or the lock was not free in time.
        """
        mark = await self._owner.mark()
        pictures, orphans = await self._orphans()
        if not await self._owner.confirm(mark, pictures, len(orphans)):
            return 0
        if len(orphans) > MAX_ORPHANS:
            log.error(
                "More than %d pictures have no row. No crash leaves so many, so none is removed: is DATABASE_URL that "
                "of this bucket's rows, and has its database all of them?",
                MAX_ORPHANS,
            )
            return 0
        if not orphans:
            return 0
        abandoned = await self._abandon(orphans.values())
        doomed = [key for key, image_id in orphans.items() if image_id in abandoned]
        for first in range(0, len(doomed), ORPHANS_REMOVED_AT_ONCE):
            await self._remove(doomed[first : first + ORPHANS_REMOVED_AT_ONCE])
        return len(doomed)

    async def _run(self) -> None:
        pause_s = self._age_s + FIRST_SWEEP_MARGIN_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = SWEEP_EVERY_S
            try:
                await self.sweep()
            except TransientError as error:
                pause_s = self._after_failure(error)
            except Exception:
                # The outermost loop: the sweeper survives every error.
                log.exception("The search for orphans failed with a program error and will be repeated")
            else:
                self._after_success()

    def _after_failure(self, error: TransientError) -> float:
        """Log the first of several failures. Returns the pause before the next attempt, seconds."""
        if not self._retry_s:
            log.warning("The search for orphans failed and will be repeated: %s", error)
        self._retry_s = min(RETRY_MAX_S, 2 * self._retry_s or RETRY_FIRST_S)
        return self._retry_s

    def _after_success(self) -> None:
        if self._retry_s:
            log.info("The search for orphans works again")
        self._retry_s = 0.0

    async def _orphans(self) -> tuple[int, dict[str, UUID]]:
        """Compare the pictures that are old enough with the rows, up to `MAX_ORPHANS`.

        Returns:
            Number of pictures, and the image ids of those without a row by key.
        """
        latest = datetime.now(UTC) - timedelta(seconds=self._age_s)
        pictures, orphans = 0, dict[str, UUID]()
        async with aclosing(self._objects.pages()) as pages:
            async for page in pages:
                uploads = _uploads(page, latest)
                pictures += len(uploads)
                orphans |= await self._without_row(uploads)
                if len(orphans) > MAX_ORPHANS:
                    break
        return pictures, orphans

    async def _without_row(self, uploads: Mapping[str, UUID]) -> dict[str, UUID]:
        if not uploads:
            return {}
        rowless = {record["id"] for record in await self._database.fetch(_WITHOUT_ROW, list(uploads.values()))}
        return {key: image_id for key, image_id in uploads.items() if image_id in rowless}

    async def _abandon(self, image_ids: Collection[UUID]) -> set[UUID]:
        """Forbid the rows of images.

        Returns:
            Ids that had no row; none can be written for them any more.
        """
        # The ids are UUID objects, so no SQL of a client can get in.
        ids = ",".join(str(image_id) for image_id in image_ids)
        await self._database.execute(_ABANDON.format(ids=ids, lock_wait_ms=LOCK_WAIT_MS))
        return {record["image_id"] for record in await self._database.fetch(_ABANDONED, list(image_ids))}

    async def _remove(self, keys: Sequence[str]) -> None:
        await self._objects.remove(keys)
        ORPHANS_REMOVED.inc(len(keys))
        log.warning("Pictures without a row (an upload was interrupted) that were removed: %d", len(keys))


def _uploads(page: Sequence[Listed], latest: datetime) -> dict[str, UUID]:
    """Image ids of the pictures in a page that were stored before a time, by key."""
    ids = {each.key: image_id_of(each.key) for each in page if each.stored_at < latest}
    return {key: image_id for key, image_id in ids.items() if image_id is not None}
