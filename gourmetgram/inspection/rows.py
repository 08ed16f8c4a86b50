"""What PostgreSQL holds, as far as other stores must agree with it: one consistent snapshot."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from gourmetgram.errors import TransientError
from gourmetgram.events import COUNT_NAMES
from gourmetgram.policy.eligibility import ACTOR_ELIGIBLE_SQL

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
class Rows:
    """All rows by id, and how many events wait in the outbox.

    Attributes:
        decisions: by the id of their request.
        decisions_by_hand: ids of decisions that answer no request.
        milestones: image id and value of every view milestone.
        outbox_first_us: when the oldest waiting event was written.
    """

    images: dict[str, ImageRow]
    comments: dict[str, ActionRow]
    flags: dict[str, ActionRow]
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
    def fetch(statement: str) -> list[Any]:
        return list(connection.execute(text(statement)).all())

    decisions: dict[str, DecisionRow] = {}
    by_hand: list[str] = []
    for row_id, request_id, target_id, trigger, *counts in fetch(_DECISIONS):
        if request_id is None:
            by_hand.append(row_id)
        else:
            decisions[request_id] = DecisionRow(target_id, trigger, dict(zip(CONTEXT_FEATURES, counts, strict=True)))
    outbox = fetch(_OUTBOX)
    return Rows(
        images={row[0]: ImageRow(*row[1:]) for row in fetch(_IMAGES)},
        comments={row[0]: ActionRow(*row[1:]) for row in fetch(_COMMENTS)},
        flags={row[0]: ActionRow(*row[1:]) for row in fetch(_FLAGS)},
        decisions=decisions,
        decisions_by_hand=by_hand,
        milestones={(image_id, value) for image_id, value in fetch(_MILESTONES)},
        outbox=[row[0] for row in outbox],
        outbox_first_us=min((row[1] for row in outbox), default=None),
    )
