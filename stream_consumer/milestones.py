"""Milestones from Redis to PostgreSQL, in a thread of their own: a slow database never stops the stream."""

import logging
import threading
from collections.abc import Mapping
from typing import Final

from sqlalchemy import DateTime, Engine, Integer, Uuid, column, literal, select, values
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from gourmetgram.database.tables import image_milestones, images
from gourmetgram.errors import TransientError
from gourmetgram.moments import from_us
from stream_consumer import metrics
from stream_consumer.store.milestones import Milestone, MilestoneStore

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
_WRITE_EVERY_S: Final = 5.0
_RETRY_S: Final = 2.0


class MilestoneWriter:
    """Writes milestones from Redis to PostgreSQL. Each replica writes all that it finds, which is idempotent.

    Args:
        store: pending milestones; used from the thread of this writer.
        engine: the application database.
    """

    def __init__(self, store: MilestoneStore, engine: Engine) -> None:
        self._store = store
        self._engine = engine
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="milestones", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Wake the thread: a milestone is pending."""
        self._wake.set()

    def stop(self, timeout_s: float) -> None:
        """Write the pending milestones, and stop. Others stay in Redis for the next start."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            stopping = self._stopping
            try:
                while self.write_waiting():
                    pass
                pause = _WRITE_EVERY_S
            except (SQLAlchemyError, TransientError) as error:
                log.warning("Milestones could not be written, trying again: %s", str(error).splitlines()[0])
                metrics.FAILURES.labels("milestones").inc()
                pause = _RETRY_S
            if stopping:
                return

    def write_waiting(self) -> int:
        """Write up to 500 milestones.

        Returns:
            Number of milestones that were written, or belong to no image.

        Raises:
            SQLAlchemyError: PostgreSQL is away or refused.
            TransientError: Redis is away.
        """
        waiting = self._store.waiting(_AT_ONCE)
        if waiting:
            insert_milestones(self._engine, waiting)
            self._store.remove(waiting)
        return len(waiting)


def insert_milestones(engine: Engine, milestones: Mapping[Milestone, int]) -> None:
    """Insert milestones of images that have a row; rows that exist stay as they are.

    Args:
        engine: the application database.
        milestones: time at which each was reached, microseconds since the epoch.

    Raises:
        SQLAlchemyError: PostgreSQL is away or refused.
    """
    reached = values(
        column("image_id", Uuid),
        column("value", Integer),
        column("reached_at", DateTime(timezone=True)),
        name="reached",
    ).data([(milestone.image_id, milestone.value, from_us(time_us)) for milestone, time_us in milestones.items()])
    known = select(reached.c.image_id, literal("views"), reached.c.value, reached.c.reached_at).where(
        reached.c.image_id.in_(select(images.c.id))
    )
    statement = insert(image_milestones).from_select(
        ["image_id", "milestone_type", "milestone_value", "reached_at"], known
    )
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_nothing())
