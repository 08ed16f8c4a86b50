"""Rows that other transactions have locked: requests for them wait, and all other requests go on."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from gourmetgram.database.pool import Database
from gourmetgram.errors import TransientError

log = logging.getLogger(__name__)

POLL_S: Final = 0.05
"""Pause between two looks at locked rows."""


class RowLocks(NamedTuple):
    """Rows that a statement locks, one for each request.

    Attributes:
        column: position of the row's id in the values of a request.
        locked: a query that takes an array of ids. It returns those whose row another transaction has locked, as `id`.
    """

    column: int
    locked: str


class LockedRows:
    """The locked rows that a writer has met, until they are free.

    Args:
        database: database with the rows.
        locks: the rows that the writer's statement locks.
        on_free: called when rows may have become free.
    """

    def __init__(self, database: Database, locks: RowLocks, on_free: Callable[[], None]) -> None:
        self._database = database
        self._locks = locks
        self._on_free = on_free
        self._ids: set[object] = set()
        self._found = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._ids)

    def concern(self, request: Sequence[object]) -> bool:
        """True if the row of a request is locked, as far as is known."""
        return request[self._locks.column] in self._ids

    async def find(self, requests: Iterable[Sequence[object]]) -> bool:
        """Look for locked rows among those of the requests. Returns True when there are any."""
        locked = await self._locked({request[self._locks.column] for request in requests} - {None})
        if locked:
            log.warning("Requests for %d rows wait: another transaction has locked them", len(locked))
            self._ids |= locked
            self._found.set()
        return bool(locked)

    async def watch(self) -> None:
        """Forget rows when they are free; never ends."""
        while True:
            await self._found.wait()
            await asyncio.sleep(POLL_S)
            asked = set(self._ids)
            self._ids -= asked - await self._locked(asked)
            self._on_free()
            if not self._ids:
                self._found.clear()

    async def _locked(self, ids: set[object]) -> set[object]:
        """Select the ids of locked rows; none when the database does not answer, which the next write will find out."""
        if not ids:
            return set()
        try:
            rows = await self._database.fetch(self._locks.locked, list(ids))
        except TransientError:
            return set()
        return {row["id"] for row in rows}
