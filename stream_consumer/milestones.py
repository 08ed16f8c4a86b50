"""Milestones on their way from Redis to PostgreSQL, in their own thread: a slow database never stops the stream."""

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import DateTime, Engine, Integer, Uuid, column, literal, select, values
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from gourmetgram.database.tables import image_milestones, images
from gourmetgram.errors import TransientError
from stream_consumer import metrics
from stream_consumer.store import Milestone, WindowStore

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
_LOOK_EVERY_S: Final = 5.0
_RETRY_S: Final = 2.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MilestoneWriter:
    """Writes the milestones that wait in Redis; each replica writes all it finds, which changes nothing twice.

    Args:
        store: where milestones wait; used from this thread too.
        engine: the application database.
    """

    def __init__(self, store: WindowStore, engine: Engine) -> None:
        self._store = store
        self._engine = engine
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="milestones", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Tell that a milestone waits."""
        self._wake.set()

    def stop(self, timeout_s: float) -> None:
        """Write what waits, and stop. What cannot be written in time stays in Redis for the next start."""
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
                pause = _LOOK_EVERY_S
            except (SQLAlchemyError, TransientError) as error:
                log.warning("Milestones could not be written, trying again: %s", str(error).splitlines()[0])
                metrics.FAILURES.labels("milestones").inc()
                pause = _RETRY_S
            if stopping:
                return

    def write_waiting(self) -> int:
        """Write some of what waits.

        Returns:
            How many milestones were written or found to be without an image.

        Raises:
            SQLAlchemyError: PostgreSQL is away or refused.
            TransientError: Redis is away.
        """
        waiting = self._store.milestones(_AT_ONCE)
        if waiting:
            insert_milestones(self._engine, waiting)
            self._store.forget_milestones(waiting)
        return len(waiting)


def insert_milestones(engine: Engine, milestones: Mapping[Milestone, int]) -> None:
    """Insert milestones of images that have a row; those that are there stay as they are.

    Args:
        engine: the application database.
        milestones: when each was reached, microseconds since the epoch.

    Raises:
        SQLAlchemyError: PostgreSQL is away or refused.
    """
    reached = values(
        column("image_id", Uuid),
        column("value", Integer),
        column("reached_at", DateTime(timezone=True)),
        name="reached",
    ).data(
        [
            (milestone.image_id, milestone.value, _EPOCH + timedelta(microseconds=time_us))
            for milestone, time_us in milestones.items()
        ]
    )
    known = select(reached.c.image_id, literal("views"), reached.c.value, reached.c.reached_at).where(
        reached.c.image_id.in_(select(images.c.id))
    )
    statement = insert(image_milestones).from_select(
        ["image_id", "milestone_type", "milestone_value", "reached_at"], known
    )
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_nothing())
