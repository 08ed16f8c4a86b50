"""The served side: features of decisions on images, as the scorer stored them in `moderation`.

Only decisions at a fixed time after the upload are comparable with training rows: see docs/drift.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, and_, func, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.exc import DBAPIError

from gourmetgram.database.tables import moderation
from gourmetgram.errors import TransientError
from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.features.matrix import FeatureMatrix
from gourmetgram.training_data.rows import DECISION_POINTS_MINUTES
from gourmetgram.windows import UPLOAD_TRIGGER, anchor_trigger

POINT_OF_TRIGGER: Final = {
    UPLOAD_TRIGGER: 0,
    **{anchor_trigger(minutes): minutes for minutes in DECISION_POINTS_MINUTES if minutes},
}
"""Triggers at a decision point of the training data, with the minutes after the upload."""

DEFAULT_HOURS: Final = 24.0
_BATCH_ROWS: Final = 2_000


class TimeWindow(NamedTuple):
    """Decisions made in (since, until]."""

    since: datetime
    until: datetime

    @classmethod
    def last_hours(cls, hours: float, until: datetime) -> "TimeWindow":
        """The window of that many hours before a moment."""
        return cls(until - timedelta(hours=hours), until)

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.until - self.since) / timedelta(hours=1)


class ServedBatch(NamedTuple):
    """Vectors of decisions at one decision point: its minutes, and a matrix of shape (rows, 29)."""

    minutes: int
    matrix: FeatureMatrix


class ServedDecisions:
    """Decisions of a window, all as of one moment of the database.

    Args:
        connection: in a transaction with one snapshot of the database.
        window: window of the decisions.
    """

    def __init__(self, connection: Connection, window: TimeWindow) -> None:
        self._connection = connection
        self._window = window

    def by_trigger(self) -> dict[str, int]:
        """Decisions with complete features, by trigger."""
        columns = moderation.c
        statement = (
            select(columns.trigger_type, func.count())
            .where(self._usable())
            .group_by(columns.trigger_type)
            .order_by(columns.trigger_type)
        )
        return {trigger or "unknown": rows for trigger, rows in self._connection.execute(statement)}

    def batches(self) -> Iterator[ServedBatch]:
        """Decisions at decision points, batch by batch, in bounded memory."""
        columns = moderation.c
        for trigger, minutes in POINT_OF_TRIGGER.items():
            statement = select(columns.features).where(self._usable(), columns.trigger_type == trigger)
            found = self._connection.execution_options(yield_per=_BATCH_ROWS).execute(statement)
            for rows in found.scalars().partitions():
                yield ServedBatch(minutes, _matrix(rows))

    def _usable(self) -> ColumnElement[bool]:
        columns = moderation.c
        return and_(
            columns.target_type == "image",
            columns.created_at > self._window.since,
            columns.created_at <= self._window.until,
            columns.features.has_all(array(FEATURE_NAMES)),
        )


@contextmanager
def served_decisions(engine: Engine, window: TimeWindow) -> Iterator[ServedDecisions]:
    """Open the decisions of a window.

    Raises:
        TransientError: PostgreSQL is away.
    """
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield ServedDecisions(connection, window)
    except DBAPIError as error:
        raise TransientError(f"The decisions could not be read: {str(error.orig).strip()}") from error


def _matrix(rows: Any) -> FeatureMatrix:  # noqa: ANN401 - decoded JSON
    return np.array([[features[name] for name in FEATURE_NAMES] for features in rows], dtype=np.float32)
