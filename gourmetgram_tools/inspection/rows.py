"""Reader of PostgreSQL: rows of one image for a trace, or all rows as tables for the audit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.events import parse_uuid
from gourmetgram.policy.eligibility import ACTOR_ELIGIBLE_SQL
from gourmetgram.windows import COUNT_NAMES
from gourmetgram_tools.inspection.objects import object_key
from gourmetgram_tools.inspection.tables import StoreTables

MIN_PREFIX: Final = 8
_BATCH: Final = 5_000


@dataclass(frozen=True)
class UserRow:
    """The uploader."""

    id: str
    username: str
    year_of_birth: int | None
    is_test_account: bool
    created_at: datetime


@dataclass(frozen=True)
class ImageRow:
    """The image."""

    id: str
    user_id: str
    s3_url: str
    source: str
    category: str | None
    caption: str | None
    views: int
    created_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True)
class CommentRow:
    """A comment on the image."""

    id: str
    user_id: str
    content: str
    actor_eligible: bool
    moderator_hidden: bool
    created_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True)
class FlagRow:
    """A flag on the image or on one of its comments."""

    id: str
    user_id: str
    comment_id: str | None
    reason: str
    review_status: str
    actor_eligible: bool
    created_at: datetime


@dataclass(frozen=True)
class MilestoneRow:
    """A number of views that the image has reached."""

    value: int
    reached_at: datetime | None


@dataclass(frozen=True)
class DecisionRow:
    """A decision about the image."""

    id: str
    request_id: str | None
    trigger: str | None
    risk_score: float
    recommendation: str | None
    inference_mode: str
    model_version: str | None
    model_score: float | None
    policy_version: str
    rationale: str | None
    features: dict[str, float] | None
    created_at: datetime


@dataclass(frozen=True)
class WaitingEvent:
    """A pending event in the outbox."""

    event_id: str
    topic: str
    event_type: str | None
    created_at: datetime


@dataclass(frozen=True)
class ImageRows:
    """All rows about one image, each list in the order of time."""

    image: ImageRow | None
    uploader: UserRow | None
    comments: list[CommentRow]
    flags: list[FlagRow]
    milestones: list[MilestoneRow]
    decisions: list[DecisionRow]
    outbox: list[WaitingEvent]


_IMAGE: Final = """
    SELECT id::text, user_id::text, s3_url, source, category, caption, COALESCE(views, 0), created_at, deleted_at
    FROM images WHERE id = :id"""
_USER: Final = """
    SELECT u.id::text, u.username, u.year_of_birth, u.is_test_account, u.created_at
    FROM users u JOIN images i ON i.user_id = u.id WHERE i.id = :id"""
_COMMENTS: Final = """
    SELECT id::text, user_id::text, content, actor_eligible, moderator_hidden, created_at, deleted_at
    FROM comments WHERE image_id = :id ORDER BY created_at, id"""
_FLAGS: Final = """
    SELECT id::text, user_id::text, comment_id::text, reason, review_status, actor_eligible, created_at
    FROM flags WHERE image_id = :id OR comment_id IN (SELECT id FROM comments WHERE image_id = :id)
    ORDER BY created_at, id"""
_MILESTONES: Final = """
    SELECT milestone_value, reached_at FROM image_milestones
    WHERE image_id = :id AND milestone_type = 'views' ORDER BY milestone_value"""
_DECISIONS: Final = """
    SELECT id::text, inference_request_id::text, trigger_type, risk_score, recommendation, inference_mode,
           model_version, model_score, policy_version, rationale, features, created_at
    FROM moderation WHERE target_type = 'image' AND target_id = :id ORDER BY created_at, id"""
_OUTBOX: Final = """
    SELECT event_id::text, topic, payload ->> 'event_type', created_at
    FROM event_outbox WHERE message_key = :text_id AND published_at IS NULL ORDER BY sequence"""

_MICROSECONDS: Final = "(EXTRACT(EPOCH FROM {}) * 1000000)::bigint"
_ALL_IMAGES: Final = f"""
    SELECT i.id::text, s3_url, source, {_MICROSECONDS.format("i.created_at")}, {_MICROSECONDS.format("deleted_at")},
           COALESCE(views, 0), {ACTOR_ELIGIBLE_SQL.format(event_time="i.created_at")}
    FROM images i JOIN users u ON u.id = i.user_id"""  # noqa: S608 - no outside text
_COUNTS: Final = ", ".join(f"'{name}', features -> '{name}'" for name in COUNT_NAMES if name != "comments_1min")
_ALL_OTHERS: Final = {
    "actions": f"""
    SELECT 'comment', id::text, image_id::text, {_MICROSECONDS.format("created_at")} FROM comments
    UNION ALL
    SELECT 'flag', f.id::text, COALESCE(f.image_id, c.image_id)::text, {_MICROSECONDS.format("f.created_at")}
    FROM flags f LEFT JOIN comments c ON c.id = f.comment_id""",  # noqa: S608
    # Counts of a request's context that are features under the same name.
    "decisions": f"""
    SELECT id::text, inference_request_id::text, target_id::text, trigger_type, jsonb_build_object({_COUNTS})::text
    FROM moderation""",  # noqa: S608
    "erasures": f"SELECT {_MICROSECONDS.format('COALESCE(completed_at, now())')} FROM erasures",  # noqa: S608
    "milestones": "SELECT image_id::text, milestone_value FROM image_milestones WHERE milestone_type = 'views'",
    "outbox": f"""
    SELECT event_id::text, {_MICROSECONDS.format("created_at")}, sequence
    FROM event_outbox WHERE published_at IS NULL""",  # noqa: S608
}
"""Statements for tables that need no conversion."""


def check_image_id(text_or_prefix: str) -> str:
    """Check an image's id or its beginning, and convert it to lower case, without a store.

    Raises:
        PermanentError: the text is too short, or no id.
    """
    wanted = text_or_prefix.strip().lower().removesuffix("...")
    if parse_uuid(wanted) is None and (len(wanted) < MIN_PREFIX or not set(wanted) <= set("0123456789abcdef-")):
        raise PermanentError(f"'{text_or_prefix}' is no image id: give the id, or its first {MIN_PREFIX} characters.")
    return wanted


def find_image_id(connection: Connection, text_or_prefix: str) -> str:
    """The full id of an image, from itself or from a prefix of at least eight characters.

    A full id is returned unchanged, because an image without a row may have traces in other stores.

    Raises:
        PermanentError: the text is too short, or fits no image or several.
    """
    wanted = check_image_id(text_or_prefix)
    full = parse_uuid(wanted)
    if full is not None:
        return full
    statement = text("SELECT id::text FROM images WHERE id::text LIKE :prefix || '%' ORDER BY id LIMIT 4")
    found = [row[0] for row in connection.execute(statement, {"prefix": wanted})]
    if not found:
        raise PermanentError(f"No image's id begins with {wanted}.")
    if len(found) > 1:
        raise PermanentError(f"Several images begin with {wanted}: {', '.join(found[:3])}. Give more of the id.")
    return str(found[0])


def read_image_rows(connection: Connection, image_id: str) -> ImageRows:
    """Read all rows about an image."""

    def fetch(statement: str) -> list[Any]:
        return list(connection.execute(text(statement), {"id": image_id, "text_id": image_id}).all())

    return ImageRows(
        image=next((ImageRow(*row) for row in fetch(_IMAGE)), None),
        uploader=next((UserRow(*row) for row in fetch(_USER)), None),
        comments=[CommentRow(*row) for row in fetch(_COMMENTS)],
        flags=[FlagRow(*row) for row in fetch(_FLAGS)],
        milestones=[MilestoneRow(*row) for row in fetch(_MILESTONES)],
        decisions=[DecisionRow(*row) for row in fetch(_DECISIONS)],
        outbox=[WaitingEvent(*row) for row in fetch(_OUTBOX)],
    )


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """Open a read-only connection on one snapshot of the database.

    Raises:
        TransientError: the database is away, or goes away within the block.
    """
    try:
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    except OperationalError as error:
        raise TransientError(f"PostgreSQL did not answer: {error.orig}") from error


def outbox_size(engine: Engine) -> int:
    """Number of pending events in the outbox.

    Raises:
        TransientError: the database is away.
    """
    with connected(engine) as connection:
        return int(
            connection.execute(text("SELECT count(*) FROM event_outbox WHERE published_at IS NULL")).scalar_one()
        )


def load_rows(tables: StoreTables, engine: Engine, bucket: str) -> None:
    """Fill the tables of PostgreSQL's rows, from one snapshot.

    Args:
        tables: tables to fill.
        engine: the database.
        bucket: name of the bucket of pictures.

    Raises:
        TransientError: the database is away.
    """
    with connected(engine) as connection:

        def fetch(statement: str) -> Iterator[Any]:
            # Batch by batch, since the driver's copy of a whole table would double the memory.
            return iter(connection.execution_options(yield_per=_BATCH).execute(text(statement)))

        tables.load("images", ((row[0], object_key(row[1], bucket), *row[2:]) for row in fetch(_ALL_IMAGES)))
        for table, statement in _ALL_OTHERS.items():
            tables.load(table, fetch(statement))
