"""Stage 2: the application's database and the object store."""

from gourmetgram import buckets
from tests.lab import pages, stores
from tests.lab.errors import expect
from tests.lab.lab import Lab
from tests.lab.steps import Stage, Step
from tests.lab.walk.common import up


def _tables(lab: Lab) -> str:
    data = pages.adminer_tables(lab, stores.TABLES)
    full = [table for table, page in data.items() if "No rows." not in page]
    expect(not full, f"not empty: {', '.join(full)}")
    return f"structure and data of {', '.join(data)}; all empty"


def _buckets(lab: Lab) -> str:
    found = pages.minio_buckets(lab)
    expect(set(found) == set(buckets.ALL), f"the console lists {found}")
    expect(stores.objects(lab, "gourmetgram-images") == [], "gourmetgram-images is not empty")
    return f"the console lists {', '.join(sorted(found))}; gourmetgram-images is empty"


STAGE = Stage(
    "2",
    "2 Application data",
    (
        up("postgres adminer", healthy=["postgres", "adminer"]),
        Step(
            "Adminer :5050, login, each table",
            "Show structure and Select data work for the five tables; all empty",
            _tables,
        ),
        up("minio minio-init", healthy=["minio"], done=["minio-init"]),
        Step("MinIO console :9001, login", "Object Browser lists both buckets; gourmetgram-images is empty", _buckets),
    ),
)
