"""Writes a history: rows and events in one transaction, all or nothing.

Events are collected in a temporary table, then written in the order of time, slice by slice. So the topics look as if
they had been filled live.
"""

# ruff: noqa: S608 - statements are made of the constants below and of checked topic names

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, text

from data_generator.backfill.history import BackfillHistory, PastImage, PastUser
from gourmetgram.database.outbox import INSERT_EVENTS, select_events
from gourmetgram.errors import PermanentError
from gourmetgram.events import EventKind

LOCK_KEY: Final = 0x6261636B66696C
"""Key of the advisory lock that lets one backfill run at a time: "backfil" in ASCII."""

STATEMENT_TIMEOUT_MS: Final = 10 * 60 * 1000
SLICES: Final = 100
_ROWS_PER_COPY: Final = 20_000

# Times travel as microseconds since the epoch: exact, and quicker to write than dates.
_TIME: Final = "timestamptz 'epoch' + {} * interval '1 microsecond'"

_STAGING: Final = """
CREATE TEMPORARY TABLE past_users (
    id uuid, username text, tos_version integer, country text, year_of_birth integer, is_test_account boolean, at bigint
) ON COMMIT DROP;
CREATE TEMPORARY TABLE past_images (
    id uuid, user_id uuid, s3_url text, caption text, category text, at bigint, views bigint
) ON COMMIT DROP;
CREATE TEMPORARY TABLE past_events (
    event_id uuid, kind text, at bigint, image_id uuid, id uuid, user_id uuid, comment_id uuid, content text,
    actor_eligible boolean
) ON COMMIT DROP
"""

_INSERT_USERS: Final = f"""
INSERT INTO users (id, username, tos_version_accepted, tos_accepted_at, country_of_residence, year_of_birth,
                   is_test_account, created_at)
SELECT id, username, tos_version, {_TIME.format("at")}, country, year_of_birth, is_test_account, {_TIME.format("at")}
FROM past_users ORDER BY at
"""
_INSERT_IMAGES: Final = f"""
INSERT INTO images (id, user_id, s3_url, source, caption, category, created_at, views)
SELECT id, user_id, s3_url, 'synthetic', caption, category, {_TIME.format("at")}, views FROM past_images ORDER BY at
"""

_SLICE: Final = "at >= :begin AND at < :end"
_INSERT_COMMENTS: Final = f"""
INSERT INTO comments (id, image_id, user_id, content, actor_eligible, created_at)
SELECT id, image_id, user_id, content, actor_eligible, {_TIME.format("at")}
FROM past_events WHERE kind = 'comment' AND {_SLICE} ORDER BY at
"""
_INSERT_FLAGS: Final = f"""
INSERT INTO flags (id, user_id, image_id, comment_id, reason, review_status, actor_eligible, created_at)
SELECT id, user_id, CASE WHEN comment_id IS NULL THEN image_id END, comment_id, content, 'pending', actor_eligible,
       {_TIME.format("at")}
FROM past_events WHERE kind = 'flag' AND {_SLICE} ORDER BY at
"""

_SOURCES: Final[dict[EventKind, str]] = {
    "upload": f"""SELECT e.event_id, i.id, i.user_id, i.s3_url, i.caption, i.category, e.actor_eligible,
                         {_TIME.format("e.at")} AS created_at
                  FROM past_events AS e JOIN past_images AS i ON i.id = e.image_id
                  WHERE e.kind = 'upload' AND e.{_SLICE.replace("AND at", "AND e.at")}""",
    "view": f"""SELECT event_id, image_id, {_TIME.format("at")} AS viewed_at
                FROM past_events WHERE kind = 'view' AND {_SLICE}""",
    "comment": f"""SELECT event_id, id, image_id, user_id, content, actor_eligible, {_TIME.format("at")} AS created_at
                   FROM past_events WHERE kind = 'comment' AND {_SLICE}""",
    "flag": f"""SELECT event_id, id, user_id, comment_id, image_id AS target_image_id, content AS reason,
                       actor_eligible, {_TIME.format("at")} AS created_at
                FROM past_events WHERE kind = 'flag' AND {_SLICE}""",
}


class Steps(NamedTuple):
    """Callbacks while a history is written: each gets the number of events since the last call."""

    generated: Callable[[int], object]
    written: Callable[[int], object]


class HistoryStore:
    """Writes histories into the application database.

    Args:
        engine: engine of the database, without a limit of seconds for a statement.
        topics: topic names by kind of event.
        tos_version: version of the terms of service that the users accepted.
    """

    def __init__(self, engine: Engine, topics: Mapping[EventKind, str], tos_version: int) -> None:
        self._engine = engine
        self._tos_version = tos_version
        self._insert_events = _insert_events(topics)

    def holds(self, history: BackfillHistory) -> bool:
        """Return whether a history of this seed is in the database."""
        with self._engine.connect() as connection:
            return _holds(connection, history)

    def write(self, history: BackfillHistory, pictures: Mapping[str, Sequence[str]], steps: Steps) -> None:
        """Write the whole history, or nothing.

        Args:
            history: the history to write.
            pictures: addresses of pictures by category.
            steps: receives the progress.

        Raises:
            PermanentError: this history is in the database already, or another backfill runs.
        """
        with self._engine.begin() as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK_KEY}):
                raise PermanentError("Another backfill is writing to this database: wait until it has ended.")
            if _holds(connection, history):
                raise PermanentError(f"A history with seed {history.plan.seed} is in the database already.")
            self._stage(connection, history, pictures, steps.generated)
            self._insert(connection, history, steps.written)

    def _stage(
        self,
        connection: Connection,
        history: BackfillHistory,
        pictures: Mapping[str, Sequence[str]],
        generated: Callable[[int], object],
    ) -> None:
        connection.exec_driver_sql(_STAGING)
        _copy(connection, "past_users", (_user(user, self._tos_version) for user in history.users))
        _copy(connection, "past_images", _images(history, pictures))
        _copy(connection, "past_events", _events(history), generated)
        connection.exec_driver_sql("CREATE INDEX ON past_events (at)")
        connection.exec_driver_sql("CREATE INDEX ON past_images (id)")
        connection.exec_driver_sql("ANALYZE past_events, past_images")

    def _insert(self, connection: Connection, history: BackfillHistory, written: Callable[[int], object]) -> None:
        connection.exec_driver_sql(_INSERT_USERS)
        connection.exec_driver_sql(_INSERT_IMAGES)
        for begin, end in _slices(history):
            bounds = {"begin": begin, "end": end}
            connection.execute(text(_INSERT_COMMENTS), bounds)
            connection.execute(text(_INSERT_FLAGS), bounds)
            written(connection.execute(text(self._insert_events), bounds).rowcount)


def _holds(connection: Connection, history: BackfillHistory) -> bool:
    found = connection.scalar(text("SELECT count(*) FROM images WHERE id = :id"), {"id": history.images[0].id})
    return bool(found)


def _insert_events(topics: Mapping[EventKind, str]) -> str:
    """One statement for all kinds, so that the outbox is filled in the order of time."""
    parts = [f"({select_events(kind, topics[kind], source)})" for kind, source in _SOURCES.items()]
    columns = "event_id, topic, message_key, payload, created_at"
    # SQLAlchemy takes a colon before a name for a parameter; casts (`::`) are no parameters.
    return f"""{INSERT_EVENTS}
    SELECT {columns} FROM ({" UNION ALL ".join(parts)}) AS everything ({columns}) ORDER BY created_at, event_id"""


def _slices(history: BackfillHistory) -> Iterator[tuple[int, int]]:
    """Half-open slices of the history's time, in microseconds since the epoch."""
    begin, end = history.bounds_us
    cuts = [begin + (end + 1 - begin) * number // SLICES for number in range(SLICES + 1)]
    yield from pairwise(cuts)


def _user(user: PastUser, tos_version: int) -> tuple[object, ...]:
    return (
        *(user.id, user.username, tos_version, user.country, user.year_of_birth, user.is_test_account),
        user.created_us,
    )


def _images(history: BackfillHistory, pictures: Mapping[str, Sequence[str]]) -> Iterator[tuple[object, ...]]:
    for number, image in enumerate(history.images):
        yield (
            *(image.id, history.uploader(image).id, _picture(image, number, pictures), image.caption, image.category),
            *(image.created_us, history.views(number)),
        )


def _picture(image: PastImage, number: int, pictures: Mapping[str, Sequence[str]]) -> str:
    choices = pictures[image.category]
    return choices[number % len(choices)]


def _events(history: BackfillHistory) -> Iterator[tuple[object, ...]]:
    for number, image in enumerate(history.images):
        for event in history.events(number):
            yield (
                *(event.event_id, event.kind, event.at_us, image.id, event.id, event.user_id, event.comment_id),
                *(event.text, event.eligible),
            )


def _copy(
    connection: Connection,
    table: str,
    rows: Iterable[tuple[object, ...]],
    copied: Callable[[int], object] = lambda _number: None,
) -> None:
    """Copy rows to a table, some thousand at a time."""
    cursor: Any = connection.connection.cursor()
    iterator = iter(rows)
    while batch := list(islice(iterator, _ROWS_PER_COPY)):
        file = io.StringIO(newline="")
        csv.writer(file).writerows(batch)
        file.seek(0)
        cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT csv)", file)
        copied(len(batch))
    cursor.close()
