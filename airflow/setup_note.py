"""Note of a finished set-up in Airflow's own database: `python setup_note.py check` or `write`.

`check` exits with 0 when the set-up is done: this version of Airflow and of `init.py` ended with the same settings, and
its results still exist. It exits with 1 when the set-up is due, with 2 when the database cannot be used. It reads by
SQL, since the import of Airflow alone takes seconds.
"""

import hashlib
import importlib.metadata
import json
import os
import sys
from pathlib import Path

import keys
import psycopg2

_WHAT_IT_DEPENDS_ON = ("AIRFLOW_ADMIN_PASSWORD", "AIRFLOW__CORE__FERNET_KEY", "DATABASE_URL")
_PREFIX = "PYICEBERG_CATALOG__GOURMETGRAM__S3__"
_STILL_THERE = """
    SELECT EXISTS (SELECT FROM ab_user WHERE username = 'admin')
       AND (SELECT count(*) FROM connection WHERE conn_id IN ('gourmetgram_postgres', 'gourmetgram_minio')) = 2
       AND EXISTS (SELECT FROM gourmetgram_setup WHERE fingerprint = %s)
"""


def fingerprint() -> str:
    """SHA-256 of all inputs of the set-up; another value means that the set-up is due."""
    scripts = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("init.py"))]
    versions = [importlib.metadata.version(name) for name in ("apache-airflow", "apache-airflow-providers-fab")]
    settings = {
        name: value for name, value in os.environ.items() if name in _WHAT_IT_DEPENDS_ON or name.startswith(_PREFIX)
    }
    kept = keys.texts(Path(os.environ[keys.FOLDER])) if keys.FOLDER in os.environ else []
    return hashlib.sha256(json.dumps([scripts, versions, settings, kept], sort_keys=True).encode()).hexdigest()


def _connect() -> "psycopg2.extensions.connection":
    url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    return psycopg2.connect("postgresql://" + url.split("://", 1)[1], connect_timeout=10)


def is_done() -> bool:
    """Return whether the set-up is done."""
    connection = _connect()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_STILL_THERE, (fingerprint(),))
            return bool(cursor.fetchone()[0])
    except psycopg2.errors.UndefinedTable:
        return False
    finally:
        connection.close()


def write() -> None:
    """Write the note that the set-up is done."""
    connection = _connect()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS gourmetgram_setup (fingerprint TEXT NOT NULL)")
            cursor.execute("DELETE FROM gourmetgram_setup")
            cursor.execute("INSERT INTO gourmetgram_setup VALUES (%s)", (fingerprint(),))
    finally:
        connection.close()


def main(command: str) -> int:
    """Entry point; returns the exit code."""
    if command == "write":
        write()
        return 0
    try:
        return 0 if is_done() else 1
    except psycopg2.OperationalError as error:
        sys.stderr.write(f"Airflow's database cannot be used: {error}")
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
