"""Databases for tests: copies of a template that holds the schema."""

import fcntl
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2 import sql

from gourmetgram.database.roles import Role, url_of
from gourmetgram_tools.local.postgres import PASSWORD, USER
from gourmetgram_tools.local.stack import Stack

TEMPLATE = "gourmetgram_template"


def create_database(stack: Stack, name: str) -> str:
    """Create a database with the schema and no rows.

    Args:
        stack: a running stack.
        name: a name that is not used yet.

    Returns:
        its libpq URL.
    """
    _ensure_template(stack)
    _execute(stack, "CREATE DATABASE {} TEMPLATE {}", name, TEMPLATE)
    # The rights in tables are copied with them. Those of the database itself are not: all roles may connect.
    return stack.postgres.url(name)


def drop_database(stack: Stack, name: str) -> None:
    """Drop a database, ending the connections that are still open."""
    _execute(stack, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _ensure_template(stack: Stack) -> None:
    """The template is made from the application's database while it is empty: nothing else connects to it."""
    lock_file: Path = stack.folder / "template.lock"
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with closing(psycopg2.connect(stack.postgres.url("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (TEMPLATE,))
                if cursor.fetchone() is not None:
                    return
        _execute(stack, "CREATE DATABASE {} TEMPLATE gourmetgram", TEMPLATE)


def owner_url(url: str) -> str:
    """URL of the same database with the login of the tables' owner, which tests write and look with."""
    return f"postgresql://{USER}:{PASSWORD}@{url.rpartition('@')[2]}"


def role_url(url: str, role: Role) -> str:
    """URL of a test's database with the login of a service's role, which has its rights there."""
    return url_of(role, url)


def _execute(stack: Stack, statement: str, *names: str) -> None:
    with closing(psycopg2.connect(stack.postgres.url("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))
