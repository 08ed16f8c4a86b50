"""PostgreSQL's part: the record of an erasure, and the rows of persons and images.

The record keeps the ids until the erasure is complete. So a second run finishes an interrupted one, although the rows
that led to the ids are gone.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, Engine, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.exc import DBAPIError

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.erasure import ErasedIds
from gourmetgram.policy.eligibility import ACTOR_ELIGIBLE_SQL

SubjectType: TypeAlias = Literal["user", "image"]

_IDS: Final = ("users", "images", "rows")

_OPEN: Final = """
INSERT INTO erasures (subject_type, subject_digest, subject_id, image_ids)
VALUES (:type, :digest, CAST(:id AS UUID), CASE :type WHEN 'image' THEN ARRAY[CAST(:id AS UUID)] ELSE '{}' END)
ON CONFLICT (subject_type, subject_digest) WHERE completed_at IS NULL DO NOTHING
"""
_GATHER_IMAGES: Final = """
UPDATE erasures AS e SET image_ids = ARRAY(
    SELECT unnest(e.image_ids) UNION SELECT i.id FROM images AS i WHERE i.user_id = e.subject_id ORDER BY 1
)
WHERE e.completed_at IS NULL AND e.subject_type = 'user'
"""
_GATHER_ROWS: Final = """
WITH of_images AS MATERIALIZED (
    SELECT e.id, image_id FROM erasures AS e CROSS JOIN unnest(e.image_ids) AS image_id WHERE e.completed_at IS NULL
),
found AS MATERIALIZED (
    SELECT e.id, c.id AS row_id FROM erasures AS e JOIN comments AS c ON c.user_id = e.subject_id
    WHERE e.completed_at IS NULL
    UNION SELECT of_images.id, c.id FROM of_images JOIN comments AS c USING (image_id)
),
everything AS (
    SELECT id, row_id FROM found
    UNION SELECT found.id, f.id FROM found JOIN flags AS f ON f.comment_id = found.row_id
    UNION SELECT of_images.id, f.id FROM of_images JOIN flags AS f USING (image_id)
    UNION SELECT e.id, f.id FROM erasures AS e JOIN flags AS f ON f.user_id = e.subject_id WHERE e.completed_at IS NULL
    UNION SELECT e.id, unnest(e.row_ids) FROM erasures AS e WHERE e.completed_at IS NULL
)
UPDATE erasures AS e SET row_ids = known.row_ids
FROM (SELECT id, array_agg(row_id ORDER BY row_id) AS row_ids FROM everything GROUP BY id) AS known
WHERE e.id = known.id
"""
_READ: Final = """
SELECT coalesce(array_agg(DISTINCT e.subject_id::text) FILTER (WHERE subject_type = 'user'), '{}'),
       ARRAY(SELECT DISTINCT unnest(image_ids)::text FROM erasures WHERE completed_at IS NULL),
       ARRAY(SELECT DISTINCT unnest(row_ids)::text FROM erasures WHERE completed_at IS NULL)
FROM erasures AS e WHERE completed_at IS NULL
"""
_CLOSE: Final = """
UPDATE images SET deleted_at = clock_timestamp() WHERE deleted_at IS NULL AND id = ANY(:images)
"""
# Rows of the persons cannot be written any more once these are locked: foreign keys need a lock, too.
_LOCKS: Final = (
    "SELECT FROM users WHERE id = ANY(:users) ORDER BY id FOR UPDATE",
    "SELECT FROM images WHERE id = ANY(:images) OR user_id = ANY(:users) ORDER BY id FOR UPDATE",
    "SELECT FROM comments WHERE image_id = ANY(:images) OR user_id = ANY(:users) ORDER BY id FOR UPDATE",
)
_TARGETS: Final = "target_id = ANY(:users) OR target_id = ANY(:images) OR target_id = ANY(:rows)"
_REMOVALS: Final = (
    # Moderators' actions on other rows may name a decision that goes.
    f"UPDATE comments SET moderator_action_id = NULL WHERE moderator_action_id IN "  # noqa: S608 - constants
    f"(SELECT id FROM moderation WHERE {_TARGETS})",
    f"UPDATE flags SET moderation_action_id = NULL WHERE moderation_action_id IN "  # noqa: S608
    f"(SELECT id FROM moderation WHERE {_TARGETS})",
    "DELETE FROM flags WHERE id = ANY(:rows)",
    "DELETE FROM comments WHERE id = ANY(:rows)",
    f"DELETE FROM moderation WHERE {_TARGETS}",  # noqa: S608
    "DELETE FROM image_milestones WHERE image_id = ANY(:images)",
    "DELETE FROM images WHERE id = ANY(:images)",
    "DELETE FROM users WHERE id = ANY(:users)",
    "DELETE FROM abandoned_uploads WHERE image_id = ANY(:images)",
)
_OF_OUTBOX: Final = """
FROM event_outbox WHERE message_key = ANY(CAST(:images AS TEXT[]))
    OR payload ->> 'user_id' = ANY(CAST(:users AS TEXT[]))
    OR payload ->> 'comment_id' = ANY(CAST(:rows AS TEXT[])) OR payload ->> 'flag_id' = ANY(CAST(:rows AS TEXT[]))
"""
_IDS_IN: Final = """EXISTS (
    SELECT FROM regexp_matches(lower({text}), '[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}', 'g') AS found
    WHERE found[1] = ANY(CAST(:ids AS TEXT[]))
)"""
# Stored answers to requests with an Idempotency-Key.
_ANSWERS: Final = "idempotency_keys"
_REMOVE_ANSWERS: Final = f"DELETE FROM {_ANSWERS} WHERE {_IDS_IN.format(text='body')}"  # noqa: S608
_TABLES: Final = ("users", "images", "comments", "flags", "moderation", "image_milestones", "event_outbox", "erasures")
_INELIGIBLE: Final = f"""
SELECT u.id::text FROM users AS u WHERE NOT ({ACTOR_ELIGIBLE_SQL.format(event_time="now()")})
ORDER BY u.created_at, u.id
"""  # noqa: S608
_NOTE_MODELS: Final = """
UPDATE erasures SET models = ARRAY(SELECT unnest(models) UNION SELECT unnest(CAST(:models AS TEXT[])) ORDER BY 1)
WHERE completed_at IS NULL
"""
_STORED_TABLES: Final = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'erasures' ORDER BY 1
"""
_COMPLETE: Final = """
UPDATE erasures SET completed_at = clock_timestamp(), subject_id = NULL, image_ids = '{}', row_ids = '{}'
WHERE completed_at IS NULL
"""


class Subject(NamedTuple):
    """A person or an image to erase; the id is a hyphenated UUID in lower case."""

    type: SubjectType
    id: str

    @property
    def digest(self) -> str:
        """Name of the subject in the record: SHA-256 of `<type>/<id>`. A random UUID cannot be guessed from it."""
        return hashlib.sha256(f"{self.type}/{self.id}".encode()).hexdigest()


class ErasureRecord:
    """The open erasures and their rows.

    Args:
        engine: the application database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self, subjects: Iterable[Subject]) -> None:
        """Record erasures; an open one of the same subject goes on."""
        with self._transaction() as connection:
            for subject in subjects:
                connection.execute(text(_OPEN), {"type": subject.type, "digest": subject.digest, "id": subject.id})

    def ineligible(self) -> list[str]:
        """Ids of the users whose events may not be used today: test accounts, and persons who may be minors."""
        with self._transaction() as connection:
            return [row[0] for row in connection.execute(text(_INELIGIBLE))]

    def ids(self) -> ErasedIds:
        """Ids of all open erasures."""
        with self._transaction() as connection:
            return _read(connection)

    def close_images(self) -> ErasedIds:
        """Delete the images for the API and the scorer: no view, comment, flag or decision comes to them any more.

        Returns:
            The ids of all open erasures.
        """
        with self._transaction() as connection:
            ids = _gather(connection)
            connection.execute(_with_ids(_CLOSE), _values(ids))
            return ids

    def pending_events(self, ids: ErasedIds) -> int:
        """Number of their events that the outbox has not published yet."""
        with self._transaction() as connection:
            condition = f"SELECT count(*) FROM (SELECT published_at {_OF_OUTBOX}) AS o WHERE published_at IS NULL"  # noqa: S608
            return int(connection.execute(_with_ids(condition), _values(ids)).scalar_one())

    def remove_rows(self) -> ErasedIds:
        """Remove all rows of the open erasures, in one transaction. From then on no such row can be written.

        Returns:
            The ids of all open erasures; rows that were written since `close_images` are among them.
        """
        with self._transaction() as connection:
            known = _read(connection)
            for statement in _LOCKS:
                connection.execute(_with_ids(statement), _values(known))
            ids = _gather(connection)
            for statement in _REMOVALS:
                connection.execute(_with_ids(statement), _values(ids))
            return ids

    def remove_events(self, ids: ErasedIds) -> None:
        """Remove their events from the outbox, and the stored answers that name them."""
        with self._transaction() as connection:
            connection.execute(text(_REMOVE_ANSWERS), {"ids": sorted(ids.all)})
            connection.execute(_with_ids(f"DELETE {_OF_OUTBOX}"), _values(ids))

    def note_models(self, models: Sequence[str]) -> None:
        """Add names of models that were trained with the erased rows."""
        with self._transaction() as connection:
            connection.execute(text(_NOTE_MODELS), {"models": list(models)})

    def models(self) -> list[str]:
        """Names of models in the open erasures."""
        with self._transaction() as connection:
            statement = "SELECT DISTINCT unnest(models) FROM erasures WHERE completed_at IS NULL ORDER BY 1"
            return [row[0] for row in connection.execute(text(statement))]

    def complete(self) -> int:
        """Complete the open erasures; their ids go. Returns their number."""
        with self._transaction() as connection:
            return int(connection.execute(text(_COMPLETE)).rowcount)

    def clean_pages(self) -> None:
        """Let PostgreSQL free the space of removed rows, instead of waiting for its own vacuum."""
        with named_database_errors(), self._engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.execute(text(f"VACUUM {', '.join(_TABLES)}"))

    def remains(self, ids: ErasedIds) -> list[str]:
        """Tables with a row that has one of the ids in any column, except the record itself."""
        found = []
        with self._transaction() as connection:
            for name in connection.execute(text(_STORED_TABLES)).scalars().all():
                query = text(f'SELECT count(*) FROM "{name}" AS t WHERE {_IDS_IN.format(text="t::text")}')  # noqa: S608
                number = connection.execute(query, {"ids": sorted(ids.all)}).scalar_one()
                found += [f"PostgreSQL table {name}: {number} rows"] if number else []
        return found

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with named_database_errors(), self._engine.begin() as connection:
            yield connection


@contextmanager
def named_database_errors() -> Iterator[None]:
    """Turn the driver's errors into the platform's.

    Raises:
        TransientError: the database is away, or a row was locked for too long.
    """
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise TransientError(f"PostgreSQL did not carry out a step: {reason}. Run the command again.") from error


def _read(connection: Connection) -> ErasedIds:
    users, images, rows = connection.execute(text(_READ)).one()
    return ErasedIds(frozenset(users), frozenset(images), frozenset(rows))


def _gather(connection: Connection) -> ErasedIds:
    connection.execute(text(_GATHER_IMAGES))
    connection.execute(text(_GATHER_ROWS))
    return _read(connection)


def _with_ids(statement: str) -> TextClause:
    used = [name for name in _IDS if f":{name}" in statement]
    return text(statement).bindparams(*(bindparam(name, type_=ARRAY(UUID(as_uuid=False))) for name in used))


def _values(ids: ErasedIds) -> dict[str, Any]:
    return {"users": sorted(ids.users), "images": sorted(ids.images), "rows": sorted(ids.rows)}
