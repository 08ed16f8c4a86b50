"""Retention of rows that nothing else removes: old decisions, and the ids of abandoned uploads."""

import asyncio
import logging
from typing import Final

from api_v1.background import BackgroundTask
from gourmetgram.database.pool import Database
from gourmetgram.errors import TransientError

log = logging.getLogger(__name__)

EVERY_S: Final = 3_600.0
FIRST_AFTER_S: Final = 60.0
AT_ONCE: Final = 5_000

ABANDONED_DAYS: Final = 30
"""Age at which the id of an abandoned upload is removed, days. An upload ends within seconds."""

# A moderator's action on a comment or flag may name a decision: such a decision stays.
_DECISIONS: Final = """
DELETE FROM moderation WHERE id IN (
    SELECT id FROM moderation AS m WHERE created_at < now() - make_interval(days => $1)
      AND NOT EXISTS (SELECT FROM comments WHERE moderator_action_id = m.id)
      AND NOT EXISTS (SELECT FROM flags WHERE moderation_action_id = m.id)
    LIMIT $2
) RETURNING 1
"""
_ABANDONED: Final = """
DELETE FROM abandoned_uploads WHERE image_id IN (
    SELECT image_id FROM abandoned_uploads WHERE abandoned_at < now() - make_interval(days => $1) LIMIT $2
) RETURNING 1
"""


class RowRetention(BackgroundTask):
    """Removes rows after their retention, each hour. Any number of processes may do so at the same time.

    Args:
        database: database with the rows.
        decision_days: age at which a decision is removed, days.
    """

    def __init__(self, database: Database, decision_days: int) -> None:
        super().__init__()
        self._database = database
        self._decision_days = decision_days

    async def remove_old(self) -> int:
        """Remove at most `AT_ONCE` rows of each table.

        Returns:
            Number of removed rows.

        Raises:
            TransientError: the database is away or too slow.
        """
        decisions = await self._database.fetch(_DECISIONS, self._decision_days, AT_ONCE)
        abandoned = await self._database.fetch(_ABANDONED, ABANDONED_DAYS, AT_ONCE)
        if decisions or abandoned:
            log.info("Removed %d old decisions and %d ids of abandoned uploads", len(decisions), len(abandoned))
        return len(decisions) + len(abandoned)

    async def _run(self) -> None:
        pause_s = FIRST_AFTER_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = EVERY_S
            try:
                while await self.remove_old() >= AT_ONCE:
                    pass
            except TransientError as error:
                log.warning("Old rows were not removed and will be in an hour: %s", error)
