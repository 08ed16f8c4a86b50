"""What PostgreSQL holds, as far as other stores must agree with it: one consistent snapshot."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from gourmetgram.errors import TransientError
from gourmetgram.policy.eligibility import ACTOR_ELIGIBLE_SQL
from gourmetgram.windows import COUNT_NAMES
from gourmetgram_tools.inspection.event_log import Ids, id_texts, uuid_bytes

_BATCH: Final = 5_000
_MICROSECONDS: Final = "(EXTRACT(EPOCH FROM {}) * 1000000)::bigint"


class ImageRow(NamedTuple):
    """An image. Times in microseconds since the epoch; `uploader_eligible`: its events may be learned from."""

    s3_url: str
    source: str
    created_at_us: int
    deleted_at_us: int | None
    views: int
    uploader_eligible: bool


class ActionRow(NamedTuple):
    """A comment or a flag, and the image it is about."""

    image_id: str
    created_at_us: int


class DecisionRow(NamedTuple):
    """A stored decision; `counts` are those of its features that come from the request's context."""

    target_id: str
    trigger: str | None
    counts: dict[str, float | None]


@dataclass(frozen=True)
class ActionRows:
    """Rows that were written with an event, in columns: hundreds of thousands of objects would take 100 MB.

    Attributes:
        ids: their ids.
        images: image ids; `image` is an index of this list.
    """

    ids: Ids
    images: Sequence[str]
    image: NDArray[np.int32]
    created_us: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, int]]) -> Self:
        """Read rows of id, image id and time of creation (microseconds)."""
        ids, image, created_us = bytearray(), array("i"), array("q")
        numbers: dict[str, int] = {}
        for row_id, image_id, time_us in rows:
            ids += uuid_bytes(row_id)
            image.append(numbers.setdefault(image_id, len(numbers)))
            created_us.append(time_us)
        return cls(
            np.frombuffer(ids, "V16"),
            list(numbers),
            np.frombuffer(image, np.int32),
            np.frombuffer(created_us, np.int64),
        )

    def chosen(self, mask: NDArray[np.bool_]) -> Iterator[tuple[str, ActionRow]]:
        """Id and content of some of the rows."""
        for index in np.flatnonzero(mask).tolist():
            (row_id,) = id_texts(self.ids[index : index + 1])
            yield row_id, ActionRow(self.images[self.image[index]], int(self.created_us[index]))


@dataclass(frozen=True)
class Rows:
    """All rows, and how many events wait in the outbox.

    Attributes:
        decisions: by the id of their request.
        decisions_by_hand: ids of decisions that answer no request.
        milestones: image id and value of every view milestone.
        outbox_first_us: when the oldest waiting event was written.
    """

    images: dict[str, ImageRow]
    comments: ActionRows
    flags: ActionRows
    decisions: dict[str, DecisionRow]
    decisions_by_hand: list[str]
    milestones: set[tuple[str, int]]
    outbox: list[str]
    outbox_first_us: int | None


CONTEXT_FEATURES: Final = tuple(name for name in COUNT_NAMES if name != "comments_1min")
"""The counts of a context that are features under the same name."""

_IMAGES = f"""
    SELECT i.id::text, s3_url, source, {_MICROSECONDS.format("i.created_at")}, {_MICROSECONDS.format("deleted_at")},
           COALESCE(views, 0), {ACTOR_ELIGIBLE_SQL.format(event_time="i.created_at")}
    FROM images i JOIN users u ON u.id = i.user_id"""  # noqa: S608 - no outside text
_COMMENTS = f"SELECT id::text, image_id::text, {_MICROSECONDS.format('created_at')} FROM comments"  # noqa: S608
_FLAGS = f"""
    SELECT f.id::text, COALESCE(f.image_id, c.image_id)::text, {_MICROSECONDS.format("f.created_at")}
    FROM flags f LEFT JOIN comments c ON c.id = f.comment_id"""  # noqa: S608
_DECISIONS = f"""
    SELECT id::text, inference_request_id::text, target_id::text, trigger_type,
           {", ".join(f"(features ->> '{name}')::float" for name in CONTEXT_FEATURES)}
    FROM moderation"""  # noqa: S608
_MILESTONES = "SELECT image_id::text, milestone_value FROM image_milestones WHERE milestone_type = 'views'"
_OUTBOX = f"""
    SELECT event_id::text, {_MICROSECONDS.format("created_at")}
    FROM event_outbox WHERE published_at IS NULL ORDER BY sequence"""  # noqa: S608


def read_rows(engine: Engine) -> Rows:
    """Read everything in one read-only snapshot.

    Raises:
        TransientError: the database is away.
    """
    try:
        with engine.connect().execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        ) as connection:
            return _read(connection)
    except OperationalError as error:
        raise TransientError(f"PostgreSQL did not answer: {error.orig}") from error


def outbox_size(engine: Engine) -> int:
    """How many events wait for the relay."""
    try:
        with engine.connect() as connection:
            return int(
                connection.execute(text("SELECT count(*) FROM event_outbox WHERE published_at IS NULL")).scalar_one()
            )
    except OperationalError as error:
        raise TransientError(f"PostgreSQL did not answer: {error.orig}") from error


def _read(connection: Connection) -> Rows:
    def fetch(statement: str) -> Iterator[Any]:
        # Batch by batch: the driver's copy of a whole table would take as much memory again.
        return iter(connection.execution_options(yield_per=_BATCH).execute(text(statement)))

    decisions: dict[str, DecisionRow] = {}
    by_hand: list[str] = []
    for row_id, request_id, target_id, trigger, *counts in fetch(_DECISIONS):
        if request_id is None:
            by_hand.append(row_id)
        else:
            decisions[request_id] = DecisionRow(target_id, trigger, dict(zip(CONTEXT_FEATURES, counts, strict=True)))
    outbox = list(fetch(_OUTBOX))
    return Rows(
        images={row[0]: ImageRow(*row[1:]) for row in fetch(_IMAGES)},
        comments=ActionRows.of(fetch(_COMMENTS)),
        flags=ActionRows.of(fetch(_FLAGS)),
        decisions=decisions,
        decisions_by_hand=by_hand,
        milestones={(image_id, value) for image_id, value in fetch(_MILESTONES)},
        outbox=[row[0] for row in outbox],
        outbox_first_us=min((row[1] for row in outbox), default=None),
    )
