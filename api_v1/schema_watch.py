"""Comparison of the database schema with the revision that this code needs."""

import asyncio
import logging
from typing import Final

import asyncpg

from api_v1.background import BackgroundTask
from gourmetgram.database.pool import Database, deadline_after
from gourmetgram.database.revision import REVISION, REVISION_QUERY, is_behind, name_of
from gourmetgram.errors import TransientError

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0
_ANSWER_WITHIN_S: Final = 1.5


class SchemaWatch(BackgroundTask):
    """Polls the schema's revision until it is new enough, and checks it for `/ready`; each change is logged.

    Args:
        database: the application database.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._was_behind = False

    async def check(self) -> None:
        """Ask the database now.

        Raises:
            TransientError: it is away, too slow, or its tables are too old.
        """
        revision = await self._revision()
        if is_behind(revision):
            sentence = f"the database schema is at {name_of(revision)}, this code needs {name_of(REVISION)}"
            if not self._was_behind:
                log.error(
                    "%s: run `docker compose up migrate` (local stack: `gourmetgram up`). Until then, a request that "
                    "needs the missing tables or columns gets 503.",
                    sentence.capitalize(),
                )
            self._was_behind = True
            raise TransientError(sentence)
        if self._was_behind:
            log.info("The database schema is at %s now", name_of(revision))
        self._was_behind = False

    async def _revision(self) -> str | None:
        try:
            records = await self._database.fetch(REVISION_QUERY, deadline=deadline_after(_ANSWER_WITHIN_S))
        except TransientError as error:
            if isinstance(error.__cause__, asyncpg.UndefinedTableError):
                return None
            raise
        return records[0]["version_num"] if records else None

    async def _run(self) -> None:
        while True:
            try:
                return await self.check()
            except TransientError:
                await asyncio.sleep(LOOK_EVERY_S)
