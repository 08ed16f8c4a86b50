"""docker/init_sql is the schema's one source; the SQLAlchemy tables must say the same."""

from collections.abc import Iterator

import pytest
from sqlalchemy import CheckConstraint, Engine, Table, create_engine, inspect, text
from sqlalchemy.schema import CreateSchema, DropSchema

from gourmetgram.database.tables import metadata
from gourmetgram.settings import PROJECT_ROOT

pytestmark = pytest.mark.servers

TABLES = [table.name for table in metadata.sorted_tables]


@pytest.fixture(scope="module")
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        connection.execute(DropSchema("from_code", cascade=True, if_exists=True))
        connection.execute(CreateSchema("from_code"))
        connection.execute(text("SET LOCAL search_path = from_code, public"))
        # The tables name no schema, so the search path decides where they are created.
        metadata.create_all(connection, checkfirst=False)
    yield engine
    with engine.begin() as connection:
        connection.execute(DropSchema("from_code", cascade=True))
    engine.dispose()


def _columns(engine: Engine, schema: str, table: str) -> dict[str, tuple[str, bool, str | None]]:
    return {
        column["name"]: (
            column["type"].compile(engine.dialect),
            column["nullable"],
            (column["default"] or "").replace("from_code.", ""),
        )
        for column in inspect(engine).get_columns(table, schema=schema)
    }


@pytest.mark.parametrize("table", TABLES)
def test_columns_have_the_same_types_nullability_and_defaults(engine: Engine, table: str) -> None:
    assert _columns(engine, "public", table) == _columns(engine, "from_code", table)


@pytest.mark.parametrize("table", TABLES)
def test_indexes_are_the_same(engine: Engine, table: str) -> None:
    query = text("""
        SELECT indexname, replace(replace(indexdef, 'from_code.', ''), 'public.', '')
        FROM pg_indexes WHERE schemaname = :schema AND tablename = :table
    """)
    with engine.connect() as connection:
        found: dict[str, dict[str, str]] = {
            schema: dict(connection.execute(query, {"schema": schema, "table": table}).all())
            for schema in ("public", "from_code")
        }
    assert found["public"] == found["from_code"]


@pytest.mark.parametrize("table", TABLES)
def test_checks_and_keys_are_the_same(engine: Engine, table: str) -> None:
    query = text("""
        SELECT conname, contype, replace(replace(pg_get_constraintdef(c.oid), 'from_code.', ''), 'public.', '')
        FROM pg_constraint c
        WHERE conrelid = format('%I.%I', CAST(:schema AS text), CAST(:table AS text))::regclass
        AND contype <> 'n' ORDER BY conname
    """)
    with engine.connect() as connection:
        found = {
            schema: connection.execute(query, {"schema": schema, "table": table}).all()
            for schema in ("public", "from_code")
        }
    assert found["public"] == found["from_code"]


def test_the_application_s_tables_may_be_applied_again(engine: Engine) -> None:
    script = (PROJECT_ROOT / "docker" / "init_sql" / "00_create_app_tables.sql").read_text()
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO abandoned_uploads (image_id) VALUES (gen_random_uuid())")
        connection.exec_driver_sql(script)
        assert connection.exec_driver_sql("DELETE FROM abandoned_uploads").rowcount == 1


def test_the_schema_test_would_notice_a_missing_check() -> None:
    users: Table = metadata.tables["users"]
    names = {constraint.name for constraint in users.constraints if isinstance(constraint, CheckConstraint)}
    assert names == {"chk_users_tos_version_nonnegative", "chk_users_year_of_birth_range"}


def test_a_decision_can_be_inserted_by_hand_as_the_lab_text_does(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(
            text(
                "INSERT INTO moderation "
                "(target_type, target_id, inference_mode, model_version, risk_score, trigger_type) "
                "VALUES ('image', gen_random_uuid(), 'heuristic', NULL, 0.5, 'manual')"
            )
        )
        row = connection.execute(text("SELECT * FROM moderation_decisions")).mappings().one()
        connection.rollback()
    assert set(row) == {
        "image_id",
        "inference_mode",
        "moderation_probability",
        "recommendation",
        "trigger_type",
        "created_at",
    }


@pytest.mark.parametrize("year", [1899, 2999])
def test_an_impossible_year_of_birth_is_refused_by_the_database(engine: Engine, year: int) -> None:
    with engine.connect() as connection, pytest.raises(Exception, match="chk_users_year_of_birth_range"):
        connection.execute(text("INSERT INTO users (username, year_of_birth) VALUES ('x', :year)"), {"year": year})
