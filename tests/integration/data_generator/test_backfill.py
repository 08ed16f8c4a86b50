"""The backfill: one consistent history in rows and outbox, all of it or nothing, and written once."""

import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

from gourmetgram.clients import s3
from gourmetgram.settings import PROJECT_ROOT, ObjectStoreSettings
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.databases import create_database, drop_database, role_url
from tests.support.object_logins import as_object_user
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

IMAGES, EVENTS = 60, 3000


@pytest.fixture(name="database")
def database_fixture(stack: Stack, unique_name: UniqueName) -> Iterator[str]:
    """URL of an empty database for each test."""
    with _new_database(stack, unique_name) as url:
        yield url


@pytest.fixture(name="environment")
def environment_fixture(database: str, s3_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return _environment(database, s3_environment, tmp_path)


class Past(NamedTuple):
    """A finished run, for tests that only look at what it left.

    Attributes:
        environment: of the run.
        database: URL of its database.
        said: what it printed.
    """

    environment: dict[str, str]
    database: str
    said: str


@pytest.fixture(name="past", scope="module")
def past_fixture(
    stack: Stack, unique_name: UniqueName, s3_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Past]:
    with _new_database(stack, unique_name) as database:
        environment = _environment(database, s3_environment, tmp_path_factory.mktemp("past"))
        done = _run(environment)
        assert done.returncode == 0, done.stderr
        yield Past(environment, database, done.stderr)


@contextmanager
def _new_database(stack: Stack, unique_name: UniqueName) -> Iterator[str]:
    name = unique_name("backfill")
    yield create_database(stack, name)
    drop_database(stack, name)


def _environment(database: str, s3_environment: dict[str, str], folder: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("GENERATOR_")},
        **as_object_user(s3_environment, "gourmetgram_generator"),
        "DATABASE_URL": role_url(database, "gourmetgram_generator"),
        "GENERATOR_MODE": "backfill",
        "GENERATOR_BACKFILL_IMAGES": str(IMAGES),
        "GENERATOR_BACKFILL_EVENTS": str(EVENTS),
        "GENERATOR_BACKFILL_SEED": "5",
        "GENERATOR_BACKFILL_TRUTH_PATH": str(folder / "truth" / "seed-5.csv"),
    }


def _run(environment: dict[str, str], **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "data_generator"],
        cwd=PROJECT_ROOT,
        env={**environment, **changes},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _query(database: str, sql: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def _counts(database: str) -> dict[str, int]:
    tables = ("users", "images", "comments", "flags", "event_outbox")
    return {table: _query(database, f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def test_rows_and_events_tell_the_same_history(past: Past) -> None:
    database = past.database
    assert "Backfill complete" in past.said
    assert "rows and events: 100 %" in past.said
    events = Counter(dict(_query(database, "SELECT payload->>'event_type', count(*) FROM event_outbox GROUP BY 1")))
    counts = _counts(database)
    assert events.total() == EVENTS == counts["event_outbox"]
    assert events["upload"] == IMAGES == counts["images"]
    assert events["comment"] == counts["comments"] > 0
    assert events["flag"] == counts["flags"] > 0
    assert _query(database, "SELECT sum(views)::int FROM images") == [(events["view"],)]
    assert _query(database, "SELECT DISTINCT source FROM images") == [("synthetic",)]
    differing = """
        SELECT count(*) FROM images AS i JOIN (
            SELECT message_key, count(*) AS views FROM event_outbox WHERE topic = 'gourmetgram.views' GROUP BY 1
        ) AS e ON e.message_key = i.id::text WHERE e.views <> i.views"""
    assert _query(database, differing) == [(0,)]


def test_an_events_row_and_payload_agree_field_by_field(past: Past) -> None:
    database = past.database
    same_comments = """
        SELECT count(*) FROM comments AS c JOIN event_outbox AS e ON e.payload->>'comment_id' = c.id::text
        WHERE e.payload->>'event_type' = 'comment' AND e.payload->>'content' = c.content
          AND (e.payload->>'created_at')::timestamptz = c.created_at AND e.created_at = c.created_at
          AND (e.payload->>'actor_eligible')::boolean = c.actor_eligible AND e.message_key = c.image_id::text"""
    same_flags = """
        SELECT count(*) FROM flags AS f JOIN event_outbox AS e ON e.payload->>'flag_id' = f.id::text
        LEFT JOIN comments AS c ON c.id = f.comment_id
        WHERE (e.payload->>'created_at')::timestamptz = f.created_at
          AND e.message_key = COALESCE(f.image_id, c.image_id)::text AND e.payload->>'image_id' = e.message_key
          AND e.payload->>'comment_id' IS NOT DISTINCT FROM f.comment_id::text"""
    counts = _counts(database)
    assert _query(database, same_comments) == [(counts["comments"],)]
    assert _query(database, same_flags) == [(counts["flags"],)]
    # Published in the order of `sequence`, which is the order of time.
    times = [time for (time,) in _query(database, "SELECT created_at FROM event_outbox ORDER BY sequence")]
    assert times == sorted(times)


def test_the_ground_truth_is_in_the_file_only(past: Past) -> None:
    database = past.database
    with Path(past.environment["GENERATOR_BACKFILL_TRUTH_PATH"]).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["harmful"] for line in lines} == {"0", "1"}
    assert {line["image_id"] for line in lines} == {row[0] for row in _query(database, "SELECT id::text FROM images")}
    leaked = "SELECT count(*) FROM event_outbox WHERE payload::text ~ '(harm|severity|popularity|viral)'"
    assert _query(database, leaked) == [(0,)]


def test_pictures_can_be_looked_at(past: Past, s3_environment: dict[str, str]) -> None:
    client = s3.connect(ObjectStoreSettings.load(s3_environment), s3.JOB)
    base = f"{s3_environment['S3_ENDPOINT_URL']}/{s3_environment['S3_BUCKET_NAME']}/"
    for (url,) in _query(past.database, "SELECT DISTINCT s3_url FROM images"):
        assert url.startswith(base)
        head = client.head_object(Bucket=s3_environment["S3_BUCKET_NAME"], Key=url.removeprefix(base))
        assert head["ContentType"] in ("image/jpeg", "image/png")
    client.close()


def test_a_second_run_changes_nothing(past: Past) -> None:
    before = _counts(past.database)
    again = _run(past.environment)
    assert again.returncode == 0
    assert "in the database already" in again.stderr
    assert _counts(past.database) == before


def test_another_seed_adds(environment: dict[str, str], database: str) -> None:
    for seed in ("5", "6"):
        assert _run(environment, GENERATOR_BACKFILL_SEED=seed).returncode == 0
    assert _counts(database)["images"] == 2 * IMAGES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_half_way_leaves_nothing(
    environment: dict[str, str], database: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "data_generator"],
        cwd=PROJECT_ROOT,
        env={**environment, "GENERATOR_BACKFILL_EVENTS": "60000"},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr
        for line in process.stderr:
            if "rows and events: 10 %" in line:
                process.send_signal(number)
                break
        rest = process.stderr.read()
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 1)
    assert "Traceback" not in rest
    wait_until(
        lambda: _query(database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backfill'") == [(0,)],
        what="the end of the run's connection",
    )
    assert set(_counts(database).values()) == {0}
    assert _run(environment).returncode == 0


def test_two_runs_at_once_write_one_history(environment: dict[str, str], database: str) -> None:
    connection = psycopg2.connect(database)
    with connection.cursor() as cursor:
        # What another run holds while it writes.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (0x6261636B66696C,))
        refused = _run(environment)
    connection.close()
    assert refused.returncode == 1
    assert "Another backfill is writing" in refused.stderr
    assert _counts(database)["images"] == 0


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"GENERATOR_BACKFILL_EVENTS": "59"}, 2, "GENERATOR_BACKFILL_EVENTS must be at least"),
        ({"GENERATOR_BACKFILL_TRUTH_PATH": f"{__file__}/truth.csv"}, 1, "set GENERATOR_BACKFILL_TRUTH_PATH"),
        ({"DATABASE_URL": "postgresql://user:wrong@127.0.0.1:1/none"}, 1, "nothing was written"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:1"}, 1, "could not be stored"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(
    environment: dict[str, str], changes: dict[str, str], code: int, sentence: str
) -> None:
    done = _run(environment, **changes)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
