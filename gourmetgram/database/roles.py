"""PostgreSQL roles of the services: what each may do, and the statements that make it so.

The lab's `user` stays the owner of the application's tables, for people, migrations and tools. No role here is a
superuser, creates databases or roles, or may do more than the table below says (docs/decisions/database-roles.md).
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final, Literal, get_args

import psycopg2
from psycopg2 import errors, extensions, sql
from psycopg2.extensions import make_dsn, parse_dsn

from gourmetgram.database.engines import KEEPALIVES
from gourmetgram.errors import PermanentError, TransientError, first_line
from gourmetgram.settings import PostgresSettings, Settings

Role = Literal[
    "gourmetgram_api",
    "gourmetgram_consumer",
    "gourmetgram_scorer",
    "gourmetgram_generator",
    "gourmetgram_batch",
    "gourmetgram_airflow",
    "gourmetgram_iceberg",
    "gourmetgram_mlflow",
]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_READ: Final = ("SELECT",)
_ADD: Final = ("SELECT", "INSERT")

RIGHTS: Final[Mapping[str, Mapping[Role, tuple[str, ...]]]] = {
    "users": {
        "gourmetgram_api": _ADD,
        "gourmetgram_scorer": _READ,
        "gourmetgram_generator": _ADD,
        "gourmetgram_batch": _READ,
    },
    "images": {
        # Counting a view locks the row, which needs a right to change it.
        "gourmetgram_api": (*_ADD, "UPDATE (views)"),
        "gourmetgram_consumer": ("SELECT (id)",),
        "gourmetgram_scorer": _READ,
        "gourmetgram_generator": _ADD,
        "gourmetgram_batch": _READ,
    },
    "comments": {
        "gourmetgram_api": _ADD,
        "gourmetgram_scorer": _READ,
        "gourmetgram_generator": ("INSERT",),
        "gourmetgram_batch": _READ,
    },
    "flags": {
        "gourmetgram_api": _ADD,
        "gourmetgram_scorer": _READ,
        "gourmetgram_generator": ("INSERT",),
        "gourmetgram_batch": _READ,
    },
    "image_milestones": {"gourmetgram_consumer": ("INSERT",), "gourmetgram_batch": _READ},
    # The sweep locks the whole table.
    "abandoned_uploads": {"gourmetgram_api": (*_ADD, "DELETE", "MAINTAIN")},
    "idempotency_keys": {
        "gourmetgram_api": (*_ADD, "UPDATE (fingerprint, status, body, created_at)", "DELETE"),
    },
    "installation": {"gourmetgram_api": ("SELECT", "UPDATE (sweeps)")},
    "erasures": {"gourmetgram_batch": ("SELECT (completed_at)",)},
    "event_outbox": {
        "gourmetgram_api": (*_ADD, "UPDATE (published_at)", "DELETE"),
        "gourmetgram_generator": ("INSERT",),
        "gourmetgram_batch": ("SELECT (created_at, published_at)",),
    },
    "moderation": {
        # A repeated request is found by its id.
        "gourmetgram_scorer": ("INSERT", "SELECT (inference_request_id)"),
        # Decisions are removed after their retention.
        "gourmetgram_api": ("SELECT (id, created_at)", "DELETE"),
        "gourmetgram_batch": _READ,
    },
    "moderation_decisions": {},
    "alembic_version": {"gourmetgram_api": _READ},
}
"""Rights by table and role. A new table needs a row, even an empty one: a test compares this with the schema."""

OWNERS: Final[Mapping[str, Role]] = {
    "airflow": "gourmetgram_airflow",
    "iceberg_catalog": "gourmetgram_iceberg",
    "mlflow": "gourmetgram_mlflow",
}
"""Databases of programs that make their own tables, with their owners."""

_SEES_TRANSACTIONS: Final[Role] = "gourmetgram_batch"
"""Sees the transactions of all roles: the watermarks of completeness.py are wrong without them."""

_LOCK_KEY: Final = 0x60F00D5E
_LOCK_WAIT_MS: Final = 10_000

_OTHERS_RELATIONS: Final = """
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
    AND c.relowner <> %(owner)s::regrole
    AND NOT EXISTS (  -- sequences of columns, and members of extensions, follow their owners
        SELECT FROM pg_depend AS d
        WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i', 'e')
    )
"""
_OTHERS_TYPES: Final = """
SELECT t.oid::regtype::text FROM pg_type AS t
WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('e', 'd') AND t.typowner <> %(owner)s::regrole
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e'
    )
"""


class RoleSettings(Settings):
    """Passwords of the roles. The defaults are the lab's published teaching passwords."""

    api_db_password: str = "gourmetgram_api"  # noqa: S105 - teaching password
    consumer_db_password: str = "gourmetgram_consumer"  # noqa: S105 - teaching password
    scorer_db_password: str = "gourmetgram_scorer"  # noqa: S105 - teaching password
    generator_db_password: str = "gourmetgram_generator"  # noqa: S105 - teaching password
    batch_db_password: str = "gourmetgram_batch"  # noqa: S105 - teaching password
    airflow_db_password: str = "gourmetgram_airflow_db"  # noqa: S105 - teaching password
    iceberg_db_password: str = "gourmetgram_iceberg"  # noqa: S105 - teaching password
    mlflow_db_password: str = "gourmetgram_mlflow"  # noqa: S105 - teaching password

    def password_of(self, role: Role) -> str:
        """The password of a role."""
        password: str = getattr(self, f"{role.removeprefix('gourmetgram_')}_db_password")
        return password


def url_of(role: Role, superuser_url: str, passwords: RoleSettings | None = None) -> str:
    """Libpq URL of the same database, with the login of a role."""
    server = superuser_url.rpartition("@")[2]
    return f"postgresql://{role}:{(passwords or RoleSettings()).password_of(role)}@{server}"


def ensure_roles(settings: PostgresSettings, passwords: RoleSettings) -> None:
    """Make the roles, their passwords and exactly their rights, in the application's database and in their own ones.

    It may run again at any time, also on a volume of the time before roles: tables of other owners change over.

    Args:
        settings: the application's database, with a superuser's login.
        passwords: passwords of the roles.

    Raises:
        TransientError: PostgreSQL is away, or another transaction holds a lock.
        PermanentError: PostgreSQL refuses, for example because the login is no superuser's.
    """
    url = settings.database_url
    # In the one database that all of a server share: runs for several databases wait for each other.
    _run(make_dsn(url, dbname="postgres"), list(_logins(passwords)))
    grant_rights(url)
    for database, owner in OWNERS.items():
        if _exists(url, database):
            own = make_dsn(url, dbname=database)
            _run(own, [*_owned(database, owner), *_transfers(own, owner)])


def grant_rights(url: str) -> None:
    """Give the roles, which exist, exactly their rights in one more application database.

    Errors are those of `ensure_roles`.
    """
    _run(url, [*_closed(parse_dsn(url)["dbname"]), *_rights()])


def _logins(passwords: RoleSettings) -> Iterator[sql.Composable]:
    for role in ROLES:
        name = sql.Identifier(role)
        yield sql.SQL("DO $$ BEGIN IF to_regrole({text}) IS NULL THEN CREATE ROLE {name}; END IF; END $$").format(
            text=sql.Literal(role), name=name
        )
        yield sql.SQL(
            "ALTER ROLE {} WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
        ).format(name, sql.Literal(passwords.password_of(role)))
    yield sql.SQL("GRANT pg_read_all_stats TO {}").format(sql.Identifier(_SEES_TRANSACTIONS))


def _closed(database: str) -> Iterator[sql.Composable]:
    """Statements after which only the roles of the services, and superusers, can connect."""
    inside = sorted({role for rights in RIGHTS.values() for role in rights})
    name = sql.Identifier(database)
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name)
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(name, _names(ROLES))
    yield sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, _names(inside))
    # A history is staged in temporary tables.
    yield sql.SQL("GRANT TEMPORARY ON DATABASE {} TO gourmetgram_generator").format(name)


def _rights() -> Iterator[sql.Composable]:
    yield sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(_names(ROLES))
    for table, rights in RIGHTS.items():
        for role, privileges in rights.items():
            yield sql.SQL("GRANT {} ON {} TO {}").format(
                sql.SQL(", ".join(privileges)), sql.Identifier(table), sql.Identifier(role)
            )


def _owned(database: str, owner: Role) -> Iterator[sql.Composable]:
    """Statements for the database of a program that makes its own tables."""
    names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
    yield sql.SQL("REVOKE ALL ON DATABASE {database} FROM PUBLIC").format(**names)
    yield sql.SQL("ALTER DATABASE {database} OWNER TO {owner}").format(**names)
    # Tools of people log in as the superuser, and may be the first to make a table.
    for kind in ("TABLES", "SEQUENCES"):
        yield sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {} TO {owner}").format(
            sql.SQL(kind), **names
        )


def _transfers(url: str, owner: Role) -> list[sql.Composable]:
    """Statements that give the tables and types of other owners to the owner of the database."""
    with _connected(url) as connection, connection.cursor() as cursor:
        found: list[sql.Composable] = []
        for query, kind in ((_OTHERS_RELATIONS, "TABLE"), (_OTHERS_TYPES, "TYPE")):
            cursor.execute(query, {"owner": owner})
            found += [
                # The names are quoted by PostgreSQL itself. ALTER TABLE takes views and sequences, too.
                sql.SQL(f"ALTER {kind} {{}} OWNER TO {{}}").format(sql.SQL(name), sql.Identifier(owner))
                for (name,) in cursor.fetchall()
            ]
        return found


def _names(roles: "tuple[Role, ...] | list[Role]") -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, roles))


def _exists(url: str, database: str) -> bool:
    with _connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
        return cursor.fetchone() is not None


def _run(url: str, statements: list[sql.Composable]) -> None:
    """Run statements in one transaction: no session sees a role without its rights in between."""
    try:
        with _connected(url) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = %s", (_LOCK_WAIT_MS,))
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            for statement in statements:
                cursor.execute(statement)
    except (psycopg2.OperationalError, errors.InternalError_) as error:
        raise TransientError(f"The rights of the services could not be set: {first_line(error)}") from error
    except psycopg2.Error as error:
        raise PermanentError(f"The rights of the services could not be set: {first_line(error)}") from error


def _connected(url: str) -> "closing[extensions.connection]":
    try:
        return closing(psycopg2.connect(url, connect_timeout=5, **KEEPALIVES))
    except psycopg2.OperationalError as error:
        raise TransientError(f"PostgreSQL does not answer: {first_line(error)}") from error
