"""One-shot set-up of Airflow: metadata tables, the lab's login, the connections of the DAGs.

All commands of Airflow's command line run in one process, since its start takes longer than most of them. The set-up is
idempotent: existing objects are updated. The first failure ends it. On Docker Compose, it also makes the keys that all
processes of Airflow share.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import keys
import setup_note

_S3 = "PYICEBERG_CATALOG__GOURMETGRAM__S3__"


def connections(variables: Mapping[str, str]) -> dict[str, object]:
    """Connections by id, as `airflow connections import` reads them.

    Raises:
        KeyError: a variable is missing.
    """
    by_role = variables.get("S3_CREDENTIALS") == "chain"
    login = (
        {} if by_role else {"login": variables[_S3 + "ACCESS_KEY_ID"], "password": variables[_S3 + "SECRET_ACCESS_KEY"]}
    )
    return {
        "gourmetgram_postgres": variables["DATABASE_URL"],
        "gourmetgram_minio": {
            "conn_type": "aws",
            **login,
            "extra": {"endpoint_url": variables[_S3 + "ENDPOINT"]},
        },
    }


def set_up(run: Callable[..., None], variables: Mapping[str, str]) -> None:
    """Run all steps.

    Args:
        run: runs one command of Airflow, given as separate words.
        variables: the process environment.

    Raises:
        KeyError: a variable is missing.
        SystemExit: a step failed.
    """
    wanted = json.dumps(connections(variables))
    password = variables.get("AIRFLOW_ADMIN_PASSWORD", "gourmetgram_airflow")
    run("db", "migrate")
    if keys.FOLDER in variables:
        rotate_keys(run, Path(variables[keys.FOLDER]))
    person = ("--firstname", "Admin", "--lastname", "User", "--email", "admin@example.com")
    run("users", "create", "--username", "admin", "--password", password, "--role", "Admin", *person)
    # An existing account would keep an earlier password.
    run("users", "reset-password", "--username", "admin", "--password", password)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as file:
        file.write(wanted)
        file.flush()
        run("connections", "import", "--overwrite", file.name)


def rotate_keys(run: Callable[..., None], folder: Path) -> None:
    """Encrypt all values with the newest Fernet key, if there are older keys.

    Raises:
        SystemExit: a value was encrypted with none of them.
    """
    if not keys.rotation_is_due(folder):
        return
    # As heavy as Airflow itself, and seldom needed.
    from cryptography.fernet import InvalidToken

    try:
        run("rotate-fernet-key")
    except InvalidToken:
        raise SystemExit(
            "Values in Airflow's database are encrypted with another Fernet key. Write that key into docker/.env as "
            "AIRFLOW_FERNET_KEY, then start this job again. If it is lost, delete these values: docker compose exec "
            "postgres psql -U user -d airflow -c 'DELETE FROM connection; DELETE FROM variable; DELETE FROM trigger'"
        ) from None
    keys.end_rotation(folder)


def airflow(*words: str) -> None:
    """Run a command of Airflow in this process.

    Raises:
        SystemExit: the command failed.
    """
    # Both take seconds to import, and mostly the set-up is already done.
    from airflow.cli.cli_parser import get_parser
    from airflow.configuration import write_default_airflow_configuration_if_needed

    write_default_airflow_configuration_if_needed()
    asked = get_parser().parse_args(words)
    asked.func(asked)


def main() -> int:
    """Entry point; returns the exit code."""
    if keys.FOLDER in os.environ:
        keys.make(Path(os.environ[keys.FOLDER]), os.environ)
    # A note in the database makes repeated calls short: each `docker compose up` runs this job.
    found = setup_note.main("check")
    if found == 0:
        sys.stdout.write("Airflow is set up already: nothing to do.\n")
    elif found == 1:
        set_up(airflow, os.environ)
        found = setup_note.main("write")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
