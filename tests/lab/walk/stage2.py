"""Stage 2: the application's database and the object store."""

from gourmetgram import buckets
from gourmetgram_tools.compose.pages import nimtable_form
from tests.lab import pages, stores
from tests.lab.book import notebook
from tests.lab.expectations import expect
from tests.lab.lab import Lab
from tests.lab.steps import LabStep, Stage, listed, up

_BOOK = notebook("2_application")


def _tables(lab: Lab) -> str:
    data = pages.adminer_tables(lab, stores.TABLES)
    full = [table for table, page in data.items() if "No rows." not in page]
    expect(not full, f"not empty: {', '.join(full)}")
    return f"structure and data of {', '.join(data)}; all empty"


def _logins(lab: Lab) -> str:
    """Later stages' databases; Nimtable's image is not rehearsed, so its login is checked here."""
    statement = "CREATE TABLE probe (id int); DROP TABLE probe; SELECT 1"
    stores.sql_as("nimtable_user", lab.settings.nimtable_db_password, statement, database="nimtable")
    form = dict(nimtable_form(lab.settings))
    login = (form["Advanced settings: jdbc.user"], form["Advanced settings: jdbc.password"])
    stores.sql_as(*login, "SELECT 1", database="iceberg_catalog")
    return "Nimtable's login makes tables in its database; the login of Connect Catalog works"


def _buckets(lab: Lab) -> str:
    found = pages.minio_buckets(lab)
    expect(set(found) == set(buckets.ALL), f"the console lists {found}")
    expect(stores.objects(lab, "gourmetgram-images") == [], "gourmetgram-images is not empty")
    return f"the console lists {', '.join(sorted(found))}; gourmetgram-images is empty"


STAGE = Stage(
    "2",
    "2 Application data",
    (
        up(_BOOK.command("up -d postgres adminer"), healthy=["postgres", "adminer"]),
        listed(_BOOK.command("docker ps"), ["postgres", "adminer"]),
        LabStep("Adminer :5050, login, each table", "structure and data of the five tables; all empty", _tables),
        LabStep(
            "PostgreSQL: databases nimtable, iceberg_catalog", "made by the init files, with their logins", _logins
        ),
        up(_BOOK.command("up -d minio minio-init"), healthy=["minio"], done=["minio-init"]),
        LabStep(
            "MinIO console :9001, login", "Object Browser lists both buckets; gourmetgram-images is empty", _buckets
        ),
    ),
)
