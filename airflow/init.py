"""Airflow's one-shot set-up: metadata tables, the lab's login, the connections that the DAGs use.

They are commands of Airflow's command line, run in one process, since to start it takes longer than most of them. Safe
to run again: existing things are brought up to date, and the first failure ends it.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping

import setup_note

_S3 = "PYICEBERG_CATALOG__GOURMETGRAM__S3__"


def connections(variables: Mapping[str, str]) -> dict[str, object]:
    """The connections by their ids, as `airflow connections import` reads them.

    Raises:
        KeyError: a variable is missing.
    """
    return {
        "gourmetgram_postgres": variables["DATABASE_URL"],
        "gourmetgram_minio": {
            "conn_type": "aws",
            "login": variables[_S3 + "ACCESS_KEY_ID"],
            "password": variables[_S3 + "SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": variables[_S3 + "ENDPOINT"]},
        },
    }


def set_up(run: Callable[..., None], variables: Mapping[str, str]) -> None:
    """Run all steps.

    Args:
        run: runs one command of Airflow, given word by word.
        variables: the process environment.

    Raises:
        KeyError: a variable is missing.
    """
    wanted = json.dumps(connections(variables))
    password = variables.get("AIRFLOW_ADMIN_PASSWORD", "gourmetgram_airflow")
    run("db", "migrate")
    person = ("--firstname", "Admin", "--lastname", "User", "--email", "admin@example.com")
    run("users", "create", "--username", "admin", "--password", password, "--role", "Admin", *person)
    # An account of an earlier start keeps its password unless it is set again.
    run("users", "reset-password", "--username", "admin", "--password", password)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as file:
        file.write(wanted)
        file.flush()
        run("connections", "import", "--overwrite", file.name)


def airflow(*words: str) -> None:
    """Run a command of Airflow in this process.

    Raises:
        SystemExit: it failed.
    """
    # Both take seconds to import, and mostly there is nothing to do.
    from airflow.cli.cli_parser import get_parser
    from airflow.configuration import write_default_airflow_configuration_if_needed

    write_default_airflow_configuration_if_needed()
    asked = get_parser().parse_args(words)
    asked.func(asked)


def main() -> int:
    """Entry point; returns the exit code."""
    # The database remembers what was set up: each `docker compose up` asks for it.
    found = setup_note.main("check")
    if found == 0:
        sys.stdout.write("Airflow is set up already: nothing to do.\n")
    elif found == 1:
        set_up(airflow, os.environ)
        found = setup_note.main("write")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
