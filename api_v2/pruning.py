"""Deletion of published events that are older than their retention."""

import logging
from typing import Final

import asyncpg

from gourmetgram.database.pool import CONNECTION_LOST, Connection, describe

log = logging.getLogger(__name__)

# One statement looks at a slice of the primary key, oldest rows first, and deletes its published rows. `reached_young`
# tells whether the slice has rows that are too young.
_PRUNE: Final = """
WITH slice AS (
    SELECT sequence, published_at FROM event_outbox WHERE sequence > $1 ORDER BY sequence LIMIT $2
), gone AS (
    DELETE FROM event_outbox AS o USING slice AS s
    WHERE o.sequence = s.sequence AND s.published_at < clock_timestamp() - make_interval(secs => $3)
)
SELECT max(sequence) AS last, count(*) AS rows,
    coalesce(bool_or(published_at >= clock_timestamp() - make_interval(secs => $3)), FALSE) AS reached_young
FROM slice
"""


class Pruner:
    """Deletes published rows after their retention, a slice at a time, between the relay's rounds.

    Args:
        retention_s: time for which a published event can be replayed, seconds.
        timeout_s: longest time of a statement, seconds.
    """

    SLICE: Final = 5_000
    PAUSE_S: Final = 10.0
    """Pause after the last slice."""

    def __init__(self, retention_s: float, timeout_s: float) -> None:
        self._retention_s = retention_s
        self._timeout_s = timeout_s
        self._after = 0
        self._not_before = 0.0
        self._failing = False

    async def prune(self, connection: Connection, clock: float) -> None:
        """Delete the old rows of the next slice, when one is due.

        Args:
            connection: the connection that holds the relay's lock.
            clock: current time of the event loop, seconds.
        """
        if clock < self._not_before:
            return
        try:
            found = await connection.fetchrow(
                _PRUNE, self._after, self.SLICE, self._retention_s, timeout=self._timeout_s
            )
        except CONNECTION_LOST:
            raise
        except asyncpg.PostgresError as error:
            if not self._failing:
                log.warning("Old events cannot be deleted from the outbox; the relay tries again: %s", describe(error))
            self._failing, self._not_before = True, clock + self.PAUSE_S
            return
        self._failing = False
        if found["rows"] < self.SLICE or found["reached_young"]:
            self._after, self._not_before = 0, clock + self.PAUSE_S
        else:
            self._after = found["last"]
