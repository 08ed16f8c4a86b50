"""Databases of every age come up to date without losing a row, whatever interrupts it."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from typer.testing import CliRunner

from gourmetgram.database.migrate import FOLDER, LOCK_KEY, Migration, current_revision, migrate
from gourmetgram.database.revision import REVISION
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import PROJECT_ROOT, PostgresSettings
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.databases import drop_database
from tests.support.schemas import OLD_FORMS, OLDEST, apply_init_sql, catalog, create_new_database, execute, rows
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def new_url(stack: Stack, unique_name: UniqueName) -> Iterator[str]:
    """A database that today's docker/init_sql made."""
    name = unique_name("new")
    yield create_new_database(stack, name)
    drop_database(stack, name)


def settings(url: str) -> PostgresSettings:
    return PostgresSettings(database_url=url)


@pytest.mark.parametrize("form", OLD_FORMS)
def test_an_older_database_becomes_what_a_new_one_is_and_keeps_its_rows(
    form: str, make_old_database: Callable[[str | None], str], new_url: str
) -> None:
    url = make_old_database(form)
    before = rows(url)
    assert all(before.values())
    assert catalog(url) != catalog(new_url)
    assert migrate(settings(url)) == Migration(None, REVISION)
    assert catalog(url) == catalog(new_url)
    assert rows(url) == before


def test_an_empty_database_becomes_what_docker_init_sql_makes(
    make_old_database: Callable[[str | None], str], new_url: str
) -> None:
    url = make_old_database(None)
    assert migrate(settings(url)) == Migration(None, REVISION)
    assert catalog(url) == catalog(new_url)


def test_a_database_whose_creation_was_interrupted_is_completed(
    make_old_database: Callable[[str | None], str], new_url: str
) -> None:
    url = make_old_database(OLDEST)
    execute(url, "DROP VIEW moderation_decisions; DROP TABLE image_milestones; DROP INDEX idx_flags_image_id")
    migrate(settings(url))
    assert catalog(url) == catalog(new_url)


def test_a_new_database_needs_no_migration(new_url: str) -> None:
    assert current_revision(settings(new_url)) == REVISION
    assert not migrate(settings(new_url)).changed


def test_a_second_run_changes_nothing(make_old_database: Callable[[str | None], str]) -> None:
    url = make_old_database(OLDEST)
    migrate(settings(url))
    before = (catalog(url), rows(url))
    assert str(migrate(settings(url))) == f"The database schema is up to date (revision {REVISION})."
    assert (catalog(url), rows(url)) == before


def test_applying_docker_init_sql_by_hand_to_an_older_database_does_not_pretend_a_revision(
    make_old_database: Callable[[str | None], str], new_url: str
) -> None:
    url = make_old_database(OLDEST)
    apply_init_sql(url)
    assert current_revision(settings(url)) is None
    migrate(settings(url))
    assert catalog(url) == catalog(new_url)


def test_the_newest_revision_is_the_one_that_code_and_docker_init_sql_name() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert scripts[0].revision == REVISION
    # The APIs compare revisions as text.
    assert all(re.fullmatch(r"\d{4}", script.revision) for script in scripts)


def test_the_comparison_notices_a_storage_parameter(
    make_old_database: Callable[[str | None], str], new_url: str
) -> None:
    url = make_old_database(OLDEST)
    migrate(settings(url))
    execute(url, "ALTER TABLE images SET (fillfactor = 60)")
    assert catalog(url) != catalog(new_url)


def test_a_newer_database_is_refused_with_advice_and_left_alone(make_old_database: Callable[[str | None], str]) -> None:
    url = make_old_database(OLDEST)
    migrate(settings(url))
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    before = (catalog(url), rows(url))
    with pytest.raises(PermanentError, match=r"at revision 9999, which this code does not know.*git pull"):
        migrate(settings(url))
    assert (catalog(url), rows(url), current_revision(settings(url))) == (*before, "9999")


def half_made(make_old_database: Callable[[str | None], str]) -> str:
    """A database whose migration creates a table first and locks existing ones after it."""
    url = make_old_database(OLDEST)
    execute(url, "DROP VIEW moderation_decisions; DROP TABLE image_milestones")
    return url


def waiting_for(url: str, kind: str) -> set[int]:
    """Server processes of migrations that wait for a lock of a kind: `relation` or `advisory`."""
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'migrate' "
            "AND wait_event_type = 'Lock' AND wait_event = %s",
            (kind,),
        )
        return {pid for (pid,) in cursor}


def test_a_lock_that_another_transaction_keeps_is_named_and_nothing_is_changed(
    make_old_database: Callable[[str | None], str],
) -> None:
    url = half_made(make_old_database)
    before = catalog(url)
    with closing(psycopg2.connect(url)) as other:
        other.cursor().execute("UPDATE event_outbox SET published_at = now()")
        with pytest.raises(TransientError, match=r"another transaction holds a lock.*pg_stat_activity"):
            migrate(settings(url), patience_s=0.1)
    assert catalog(url) == before
    assert migrate(settings(url)).changed


def test_a_migration_waits_for_a_lock_that_is_given_back(
    make_old_database: Callable[[str | None], str], new_url: str
) -> None:
    url = half_made(make_old_database)
    with closing(psycopg2.connect(url)) as other, ThreadPoolExecutor(1) as pool:
        other.cursor().execute("UPDATE event_outbox SET published_at = now()")
        run = pool.submit(migrate, settings(url))
        first = wait_until(lambda: waiting_for(url, "relation"), what="the first attempt")
        wait_until(lambda: waiting_for(url, "relation") - first, what="a second attempt")
        other.rollback()
        assert run.result(60).changed
    assert catalog(url) == catalog(new_url)


def test_a_migration_of_a_whole_database_waits_only_for_writers_of_the_outbox_comments_and_flags(
    make_old_database: Callable[[str | None], str],
) -> None:
    url = make_old_database(OLDEST)
    with closing(psycopg2.connect(url)) as other:
        for table in ("users", "images", "moderation"):
            other.cursor().execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        assert migrate(settings(url), patience_s=0.1).changed


def test_two_runs_at_once_wait_for_each_other(make_old_database: Callable[[str | None], str], new_url: str) -> None:
    url = make_old_database(OLDEST)
    with closing(psycopg2.connect(url)) as other, ThreadPoolExecutor(2) as pool:
        # Both runs have found the database too old before one of them may begin.
        other.cursor().execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        runs = [pool.submit(migrate, settings(url)) for _ in range(2)]
        wait_until(lambda: len(waiting_for(url, "advisory")) == 2, what="both runs")
        other.rollback()
        outcomes = [run.result(60) for run in runs]
    assert sorted(outcome.changed for outcome in outcomes) == [False, True]
    assert catalog(url) == catalog(new_url)


def job(url: str) -> subprocess.Popen[str]:
    """The set-up job as the container runs it."""
    return subprocess.Popen(
        [sys.executable, "-m", "setup_jobs.schema"],
        cwd=PROJECT_ROOT,
        env={"DATABASE_URL": url, "PATH": "/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_job_that_is_killed_in_the_middle_leaves_the_old_state(
    make_old_database: Callable[[str | None], str], new_url: str
) -> None:
    url = half_made(make_old_database)
    before = catalog(url)
    with closing(psycopg2.connect(url)) as other:
        other.cursor().execute("UPDATE event_outbox SET published_at = now()")
        with job(url) as killed:
            wait_until(lambda: waiting_for(url, "relation"), 30, "the migration's lock")
            killed.kill()
            killed.communicate(timeout=30)
        other.rollback()
    assert catalog(url) == before
    with job(url) as again:
        _, log = again.communicate(timeout=60)
    assert again.returncode == 0
    line, roles = log.splitlines()
    assert roles.endswith("Each service has its role and its rights.")
    assert line.endswith(f"The database schema was brought from no revision to revision {REVISION}.")
    assert catalog(url) == catalog(new_url)


def test_the_job_says_what_is_wrong_and_fails(new_url: str) -> None:
    with job(new_url.replace("gourmetgram_postgres", "wrong-password")) as refused:
        _, log = refused.communicate(timeout=60)
    assert refused.returncode == 1
    (line,) = log.splitlines()
    assert "password authentication failed" in line
    assert "wrong-password" not in line


def command(monkeypatch: pytest.MonkeyPatch, url: str, *words: str) -> tuple[int, str]:
    """Exit code and output of `gourmetgram migrate` on a database."""
    monkeypatch.setattr("gourmetgram_tools.cli.migrate.running_environment", lambda *_options: {"DATABASE_URL": url})
    result = CliRunner().invoke(app, ["migrate", *words])
    return result.exit_code, result.stdout.strip()


def test_the_command_checks_and_migrates(
    make_old_database: Callable[[str | None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_old_database(OLDEST)
    code = f"this code is at revision {REVISION}."
    up_to_date = f"The database schema is up to date (revision {REVISION})."
    assert command(monkeypatch, url, "--check") == (1, f"The database schema is at no revision, {code}")
    assert current_revision(settings(url)) is None
    assert command(monkeypatch, url) == (
        0,
        f"The database schema was brought from no revision to revision {REVISION}.",
    )
    assert command(monkeypatch, url) == (0, up_to_date)
    assert command(monkeypatch, url, "--check") == (0, f"The database schema is at revision {REVISION}, {code}")
