"""Roles of the services in a real PostgreSQL: each has its rights, and no other one.

That a service needs no more is seen by the services' own tests, whose fixtures log in with these roles.
"""

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import errors, sql

from gourmetgram.database.completeness import rows_watermark
from gourmetgram.database.migrate import migrate
from gourmetgram.database.roles import (
    OWNERS,
    RIGHTS,
    ROLES,
    Role,
    RoleSettings,
    ensure_roles,
    grant_rights,
    url_of,
)
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import PostgresSettings
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.databases import create_database, drop_database
from tests.support.schemas import OLDEST, execute

pytestmark = pytest.mark.servers

_TABLES = """
SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
"""
_GRANTED = """
SELECT c.relname, r.rolname, a.privilege_type, NULL
FROM pg_class AS c, aclexplode(c.relacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee
WHERE c.relnamespace = 'public'::regnamespace AND r.rolname = ANY(%(roles)s)
UNION ALL
SELECT c.relname, r.rolname, a.privilege_type, t.attname
FROM pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid, aclexplode(t.attacl) AS a
    JOIN pg_roles AS r ON r.oid = a.grantee
WHERE c.relnamespace = 'public'::regnamespace AND r.rolname = ANY(%(roles)s)
"""
_ATTRIBUTES = """
SELECT rolname FROM pg_roles WHERE rolname = ANY(%(roles)s)
    AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls OR NOT rolcanlogin)
"""
_MEMBERSHIPS = """
SELECT m.rolname, g.rolname FROM pg_auth_members AS a
    JOIN pg_roles AS m ON m.oid = a.member JOIN pg_roles AS g ON g.oid = a.roleid WHERE m.rolname = ANY(%(roles)s)
"""
_CONNECT = """
SELECT r.rolname FROM pg_roles AS r
WHERE r.rolname = ANY(%(roles)s) AND has_database_privilege(r.rolname, current_database(), %(privilege)s)
"""


@pytest.fixture(scope="module", name="url")
def url_fixture(stack: Stack, unique_name: UniqueName) -> Iterator[str]:
    """A database of this module with the rights of the roles."""
    name = unique_name("roles")
    url = create_database(stack, name)
    grant_rights(url)
    yield url
    drop_database(stack, name)


def found(url: str, query: str, **values: object) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, {"roles": list(ROLES), **values})
        return list(cursor.fetchall())


def planned() -> set[tuple[str, str, str, str | None]]:
    """The table of rights, with one entry for each table or column."""
    rights: set[tuple[str, str, str, str | None]] = set()
    for table, by_role in RIGHTS.items():
        for role, privileges in by_role.items():
            for privilege in privileges:
                name, _, columns = privilege.partition(" (")
                rights |= {
                    (table, role, name, column.strip() or None) for column in columns.removesuffix(")").split(",")
                }
    return rights


def test_each_table_of_the_schema_has_a_row_of_rights(url: str) -> None:
    assert {name for (name,) in found(url, _TABLES)} == set(RIGHTS)


def test_the_roles_have_exactly_their_rights_in_tables(url: str) -> None:
    assert set(found(url, _GRANTED)) == planned()


def test_a_right_that_was_given_by_hand_is_taken_back(url: str) -> None:
    execute(url, "GRANT ALL ON users TO gourmetgram_consumer; GRANT UPDATE (s3_url) ON images TO gourmetgram_consumer")
    grant_rights(url)
    assert set(found(url, _GRANTED)) == planned()


def test_no_role_is_more_than_a_login(url: str) -> None:
    assert found(url, _ATTRIBUTES) == []
    assert found(url, _MEMBERSHIPS) == [("gourmetgram_batch", "pg_read_all_stats")]


def test_only_the_services_of_a_database_connect_to_it(stack: Stack, url: str) -> None:
    inside = {role for rights in RIGHTS.values() for role in rights}
    assert {name for (name,) in found(url, _CONNECT, privilege="CONNECT")} == inside
    assert found(url, _CONNECT, privilege="TEMPORARY") == [("gourmetgram_generator",)]
    for database, owner in OWNERS.items():
        assert found(stack.postgres.url(database), _CONNECT, privilege="CONNECT") == [(owner,)]
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(url_of("gourmetgram_mlflow", url))


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("gourmetgram_api", "SELECT * FROM moderation"),
        ("gourmetgram_api", "DELETE FROM users"),
        ("gourmetgram_api", "UPDATE images SET s3_url = 'x'"),
        ("gourmetgram_api", "UPDATE event_outbox SET payload = '{}'"),
        ("gourmetgram_api", "TRUNCATE flags"),
        ("gourmetgram_consumer", "SELECT * FROM images"),
        ("gourmetgram_consumer", "SELECT * FROM users"),
        ("gourmetgram_consumer", "DELETE FROM image_milestones"),
        ("gourmetgram_scorer", "UPDATE moderation SET risk_score = 0"),
        ("gourmetgram_scorer", "INSERT INTO users (username) VALUES ('x')"),
        ("gourmetgram_scorer", "SELECT * FROM event_outbox"),
        ("gourmetgram_generator", "SELECT * FROM moderation"),
        ("gourmetgram_generator", "DELETE FROM images"),
        ("gourmetgram_batch", "INSERT INTO moderation (target_id) VALUES (gen_random_uuid())"),
        ("gourmetgram_batch", "SELECT payload FROM event_outbox"),
        ("gourmetgram_batch", "UPDATE users SET username = 'x'"),
        *(
            (role, statement)
            for role in ("gourmetgram_api", "gourmetgram_consumer", "gourmetgram_scorer", "gourmetgram_batch")
            for statement in (
                "COPY users FROM PROGRAM 'id'",
                "CREATE TABLE mine (id int)",
                "CREATE TEMPORARY TABLE mine (id int)",
                "CREATE ROLE other",
                "CREATE DATABASE other",
                "SELECT * FROM pg_authid",
                "SELECT pg_read_file('/etc/passwd')",
                'SET ROLE "user"',
                "DROP TABLE abandoned_uploads",
            )
        ),
    ],
)
def test_a_role_may_do_nothing_else(url: str, role: Role, statement: str) -> None:
    with closing(psycopg2.connect(url_of(role, url))) as connection:
        connection.autocommit = True
        with pytest.raises(errors.InsufficientPrivilege):
            connection.cursor().execute(statement)


def test_the_batch_role_sees_transactions_of_the_services(url: str) -> None:
    """Otherwise, the watermark would be later than events that are being written."""
    with (
        closing(psycopg2.connect(url_of("gourmetgram_api", url))) as api,
        closing(psycopg2.connect(url_of("gourmetgram_batch", url))) as batch,
        api.cursor() as writing,
        batch.cursor() as cursor,
    ):
        batch.autocommit = True
        writing.execute("INSERT INTO users (username) VALUES ('in-flight') RETURNING now()")
        (began,) = writing.fetchone()
        assert rows_watermark(cursor).complete_through == began
        api.rollback()
        assert rows_watermark(cursor).complete_through > began


def test_an_older_database_gets_the_roles_and_its_tables_their_new_owner(
    stack: Stack,
    unique_name: UniqueName,
    monkeypatch: pytest.MonkeyPatch,
    make_old_database: Callable[[str | None], str],
) -> None:
    url, own = make_old_database(OLDEST), unique_name("owned")
    execute(stack.postgres.url("postgres"), f'CREATE DATABASE "{own}"')
    own_url = stack.postgres.url(own)
    execute(
        own_url,
        "CREATE TYPE kind AS ENUM ('a'); CREATE TABLE things (id serial PRIMARY KEY, kind kind);"
        "CREATE VIEW seen AS SELECT * FROM things; CREATE SEQUENCE apart; INSERT INTO things (kind) VALUES ('a')",
    )
    monkeypatch.setattr("gourmetgram.database.roles.OWNERS", {own: "gourmetgram_mlflow"})
    migrate(PostgresSettings(database_url=url))
    for _ in range(2):
        ensure_roles(PostgresSettings(database_url=url), RoleSettings())
    assert set(found(url, _GRANTED)) == planned()
    # A table that a person's tool makes later can be used, too.
    execute(own_url, "CREATE TABLE later (id int)")
    with closing(psycopg2.connect(url_of("gourmetgram_mlflow", own_url))) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO things (kind) SELECT kind FROM seen RETURNING id")
        assert cursor.fetchall() == [(2,)]
        cursor.execute("ALTER TABLE things ADD COLUMN more int; ALTER TYPE kind ADD VALUE 'b'; DROP SEQUENCE apart")
        cursor.execute("INSERT INTO later VALUES (1); CREATE TABLE mine (id int)")
    drop_database(stack, own)


def test_a_password_of_the_settings_is_the_one_that_counts(stack: Stack) -> None:
    url = stack.postgres.url()
    own = RoleSettings(generator_db_password='it\'s an "own" one')
    try:
        ensure_roles(PostgresSettings(database_url=url), own)
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(url_of("gourmetgram_generator", url))
    finally:
        ensure_roles(PostgresSettings(database_url=url), RoleSettings())
    psycopg2.connect(url_of("gourmetgram_generator", url)).close()


def test_failures_are_named(url: str) -> None:
    with pytest.raises(PermanentError, match="rights of the services could not be set: permission denied"):
        ensure_roles(PostgresSettings(database_url=url_of("gourmetgram_api", url)), RoleSettings())
    with pytest.raises(TransientError, match="PostgreSQL does not answer"):
        ensure_roles(PostgresSettings(database_url="postgresql://user@127.0.0.1:1/x"), RoleSettings())


def test_the_names_of_the_roles_need_no_quotes() -> None:
    assert all(sql.Identifier(role).strings == (role,) and role.islower() for role in ROLES)
