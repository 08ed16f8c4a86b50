"""The owner of the bucket of pictures: the database whose id and number of sweeps its mark names.

A database that is another one, or that was restored to a state before the last sweep, does not own the bucket: most of
its pictures have no row there, and none of them may go.
"""

import logging
from typing import Final

from api_v1.metrics import PICTURES_OWNED
from gourmetgram.buckets import OWNER_KEY, BucketMark
from gourmetgram.database.installation import COUNT_SWEEP, INSTALLATION
from gourmetgram.database.pool import Database
from gourmetgram.object_store import ObjectStore

log = logging.getLogger(__name__)

MAX_UNMARKED_SHARE: Final = 0.2
"""Largest share of pictures without a row in a bucket that a database marks by itself."""


class PictureOwner:
    """Compares the bucket's mark with the database, and renews it.

    Args:
        database: database with the rows.
        objects: the pictures' bucket.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects
        self._refusal: str | None = None

    async def mark(self) -> BucketMark | None:
        """The bucket's mark; None without one. Read it before the pictures are listed.

        Raises:
            TransientError: the object store is away or too slow.
        """
        content = await self._objects.read(OWNER_KEY)
        return None if content is None else BucketMark.parse(content)

    async def confirm(self, mark: BucketMark | None, pictures: int, orphans: int) -> bool:
        """Decide whether the database owns the bucket; if so, count the sweep and renew the mark.

        A bucket without a mark is marked when nearly all of its pictures have a row.

        Args:
            mark: result of `mark`.
            pictures: number of pictures that were compared with the rows.
            orphans: number of those without a row.

        Raises:
            TransientError: a store is away or too slow.
        """
        (row,) = await self._database.fetch(INSTALLATION)
        self._report(_refusal(mark, BucketMark(row["id"], row["sweeps"]), pictures, orphans))
        if self._refusal:
            return False
        (row,) = await self._database.fetch(COUNT_SWEEP)
        await self._objects.put(OWNER_KEY, BucketMark(row["id"], row["sweeps"]).content, "application/json")
        return True

    def _report(self, refusal: str | None) -> None:
        """Log each change of the decision once, and show it as a metric."""
        if refusal and refusal != self._refusal:
            log.error("No picture is removed: %s", refusal)
        if self._refusal and not refusal:
            log.info("The bucket of pictures belongs to this database now")
        self._refusal = refusal
        PICTURES_OWNED.set(refusal is None)


def _refusal(mark: BucketMark | None, database: BucketMark, pictures: int, orphans: int) -> str | None:
    if mark is not None:
        return mark.refusal(database)
    if orphans <= MAX_UNMARKED_SHARE * pictures:
        return None
    return (
        "many pictures of the bucket have no row, and it has no mark of its database. If DATABASE_URL is the right "
        "database, run `gourmetgram adopt pictures`."
    )
