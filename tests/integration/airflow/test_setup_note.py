"""The note by which `airflow-init` knows that there is nothing to do, on a real PostgreSQL."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram_tools.local.airflow import ENVIRONMENT

Note = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(name="note")
def note_fixture(database_url: str) -> Note:
    """Run the script in Airflow's environment: `note("check", AIRFLOW_ADMIN_PASSWORD="other")`."""

    def run(command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url.replace("postgresql://", "postgresql+psycopg2://"),
            "AIRFLOW_ADMIN_PASSWORD": "first",
            "DATABASE_URL": database_url,
        }
        return subprocess.run(
            [str(ENVIRONMENT / "bin" / "python"), str(PROJECT_ROOT / "airflow" / "setup_note.py"), command],
            env={**process_environment(), **variables, **changes},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(name="tables")
def tables_fixture(database_url: str) -> Iterator[psycopg2.extensions.connection]:
    """What the set-up leaves in Airflow's database, as far as the note looks at it."""
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE ab_user (username TEXT); INSERT INTO ab_user VALUES ('admin')")
            cursor.execute("CREATE TABLE connection (conn_id TEXT)")
            cursor.execute("INSERT INTO connection VALUES ('gourmetgram_postgres'), ('gourmetgram_minio')")
            yield connection
            cursor.execute("DROP TABLE ab_user, connection; DROP TABLE IF EXISTS gourmetgram_setup")


def test_an_empty_database_is_to_be_set_up(note: Note) -> None:
    assert note("check").returncode == 1


def test_what_was_set_up_is_not_set_up_again(note: Note, tables: psycopg2.extensions.connection) -> None:
    assert note("check").returncode == 1
    assert note("write").returncode == 0
    assert note("check").returncode == 0
    # Twice is as good as once.
    assert note("write").returncode == 0
    assert note("check").returncode == 0


def test_another_password_or_a_lost_account_means_to_set_up_again(
    note: Note, tables: psycopg2.extensions.connection
) -> None:
    note("write")
    assert note("check", AIRFLOW_ADMIN_PASSWORD="second").returncode == 1
    assert note("check", PYICEBERG_CATALOG__GOURMETGRAM__S3__ENDPOINT="http://other").returncode == 1
    assert note("check").returncode == 0
    with tables.cursor() as cursor:
        cursor.execute("DELETE FROM connection WHERE conn_id = 'gourmetgram_minio'")
    assert note("check").returncode == 1


def test_another_key_means_to_set_up_again(note: Note, tables: psycopg2.extensions.connection, tmp_path: Path) -> None:
    (tmp_path / "fernet_key").write_text("first")
    note("write", AIRFLOW_SECRETS_FOLDER=str(tmp_path))
    assert note("check", AIRFLOW_SECRETS_FOLDER=str(tmp_path)).returncode == 0
    # Values are due to be encrypted again.
    (tmp_path / "fernet_key").write_text("second,first")
    assert note("check", AIRFLOW_SECRETS_FOLDER=str(tmp_path)).returncode == 1


def test_a_database_that_cannot_be_used_is_named_in_a_sentence(note: Note) -> None:
    url = "postgresql+psycopg2://user:wrong@127.0.0.1:1/airflow"
    done = note("check", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=url)
    assert done.returncode == 2
    assert "Airflow's database cannot be used" in done.stderr
    assert "wrong" not in done.stderr
    assert note("write", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=url).returncode != 0
