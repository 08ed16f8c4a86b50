"""Databases with older forms of the schema, and what two databases are compared by."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg2
import pytest
from psycopg2 import sql

from gourmetgram_tools.local.postgres import INIT_FOLDER, TABLE_FILES
from gourmetgram_tools.local.stack import Stack
from gourmetgram_tools.local.toolchain import postgres_install
from tests.support.databases import drop_database

OLDEST: Final = "91ee821"
_OLD: Final = Path(__file__).with_name("old_schemas")
OLD_FORMS: Final = tuple(sorted(file.stem for file in _OLD.iterdir()))
"""Commits after which docker/init_sql made other tables than before; that of e036ec0 is the same as 91ee821's."""

TABLES: Final = ("users", "images", "comments", "flags", "moderation", "image_milestones", "event_outbox")
"""The tables of every form."""

_ROWS: Final = """
    INSERT INTO users (username) SELECT 'user-' || n FROM generate_series(1, 50) AS n;
    INSERT INTO images (user_id, s3_url, views) SELECT id, 'http://s3/' || username, 7 FROM users;
    INSERT INTO moderation (inference_request_id, target_type, target_id, inference_mode, risk_score, features)
        SELECT gen_random_uuid(), 'image', id, 'heuristic', 0.5, '{"total_views": 7}' FROM images;
    INSERT INTO comments (image_id, user_id, content, moderator_action_id)
        SELECT images.id, user_id, 'yum', moderation.id FROM images JOIN moderation ON target_id = images.id;
    INSERT INTO flags (user_id, image_id, comment_id, reason, moderation_action_id)
        SELECT user_id, image_id, id, 'not food', moderator_action_id FROM comments;
    INSERT INTO image_milestones (image_id, milestone_type, milestone_value, reached_at)
        SELECT id, 'views', 100, now() FROM images;
    INSERT INTO event_outbox (event_id, topic, message_key, payload)
        SELECT gen_random_uuid(), 'gourmetgram.uploads', id::text, jsonb_build_object('image_id', id) FROM images;
"""


@pytest.fixture
def make_old_database(stack: Stack, unique_name: Callable[[str], str]) -> Iterator[Callable[[str | None], str]]:
    """Make databases as older commits left them, with rows in every table; None = an empty one."""
    names: list[str] = []

    def make(form: str | None) -> str:
        names.append(unique_name("old"))
        _create_empty(stack, names[-1])
        url = stack.postgres.url(names[-1])
        if form is not None:
            execute(url, (_OLD / f"{form}.sql").read_text())
            execute(url, _ROWS)
        return url

    yield make
    for name in names:
        drop_database(stack, name)


def create_new_database(stack: Stack, name: str) -> str:
    """Create a database as the postgres image does today on an empty volume."""
    _create_empty(stack, name)
    url = stack.postgres.url(name)
    apply_init_sql(url)
    return url


def apply_init_sql(url: str) -> None:
    """Apply the files of docker/init_sql that make the application's tables."""
    for file in TABLE_FILES:
        execute(url, (INIT_FOLDER / file).read_text())


def _create_empty(stack: Stack, name: str) -> None:
    execute(stack.postgres.url("postgres"), sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def execute(url: str, script: str | sql.Composable) -> None:
    """Run statements, each in a transaction of its own unless they travel together."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(script)


def catalog(url: str) -> str:
    """Everything that a database defines, as pg_dump writes it: columns in order, defaults, constraints, indexes,
    views, identities, storage parameters; but no rights, which are the roles' own matter (test_roles.py)."""
    answer = subprocess.run(
        [postgres_install() / "bin" / "pg_dump", "--schema-only", "--no-privileges", f"--dbname={url}"],
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
        capture_output=True,
        text=True,
        check=True,
    )
    # These two lines of pg_dump hold a number of this run.
    return re.sub(r"^\\(?:un)?restrict .*\n", "", answer.stdout, flags=re.MULTILINE)


def rows(url: str) -> dict[str, list[str]]:
    """Every row of the tables that all forms have, as text."""
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        found = {}
        for table in TABLES:
            cursor.execute(sql.SQL("SELECT row.*::text FROM {} AS row ORDER BY 1").format(sql.Identifier(table)))
            found[table] = [text for (text,) in cursor]
        return found
