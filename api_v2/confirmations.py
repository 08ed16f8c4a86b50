"""Confirmed events whose rows must still be marked as published."""

import logging
from collections.abc import Iterable
from typing import Final

import asyncpg

from api_v2.publisher import OutboxEvent
from gourmetgram.database.pool import CONNECTION_LOST, Connection, describe

log = logging.getLogger(__name__)

_MARK: Final = """
UPDATE event_outbox SET published_at = clock_timestamp() WHERE sequence = ANY($1::bigint[]) AND published_at IS NULL
"""


class Confirmations:
    """Sequences that the broker has confirmed, kept until their rows are marked.

    A statement that fails (a lock on the table, a missing right) is repeated, and not the events. Meanwhile the relay
    goes on publishing, up to `LIMIT` events: a successor would publish as many again.

    Args:
        timeout_s: longest time of a statement, seconds.
    """

    LIMIT: Final = 10_000
    FIRST_PAUSE_S: Final = 0.5
    LONGEST_PAUSE_S: Final = 30.0

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._sequences: set[int] = set()
        self._pause_s = 0.0
        self._not_before = 0.0

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def sequences(self) -> list[int]:
        """Confirmed sequences whose rows are not marked."""
        return sorted(self._sequences)

    @property
    def full(self) -> bool:
        """True when nothing more may be published before rows are marked."""
        return len(self._sequences) >= self.LIMIT

    @property
    def failing(self) -> bool:
        """True after a failed attempt to mark rows."""
        return self._pause_s > 0

    def add(self, events: Iterable[OutboxEvent]) -> None:
        """Record events that the broker has confirmed."""
        self._sequences.update(event.sequence for event in events)

    async def mark(self, connection: Connection, clock: float) -> None:
        """Mark the rows of all confirmed events, unless an attempt failed just before.

        Args:
            connection: the connection that holds the relay's lock.
            clock: current time of the event loop, seconds.
        """
        if not self._sequences or clock < self._not_before:
            return
        try:
            await connection.execute(_MARK, self.sequences, timeout=self._timeout_s)
        except CONNECTION_LOST:
            raise
        except asyncpg.PostgresError as error:
            if not self.failing:
                log.warning("Published events cannot be marked; the relay tries again: %s", describe(error))
            self._pause_s = min(self.LONGEST_PAUSE_S, 2 * self._pause_s or self.FIRST_PAUSE_S)
            self._not_before = clock + self._pause_s
        else:
            if self.failing:
                log.info("Published events are marked again")
            self._sequences.clear()
            self._pause_s = 0.0
