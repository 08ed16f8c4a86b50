"""A lakehouse and a folder of models of one test's own."""

from collections.abc import Iterator

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.settings import IcebergSettings, ObjectStoreSettings
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.databases import create_database, drop_database
from tests.support.object_logins import as_object_user

BUCKET = "gourmetgram-datalake"


@pytest.fixture
def lake_environment(stack: Stack, unique_name: UniqueName) -> Iterator[dict[str, str]]:
    """The variables of a platform whose database, warehouse and models belong to this test, with the DAGs' user."""
    name = unique_name("training")
    url = create_database(stack, name)
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    variables = {
        **stack.environment(),
        "DATABASE_URL": url,
        f"{prefix}URI": url.replace("postgresql://", "postgresql+psycopg2://"),
        f"{prefix}WAREHOUSE": f"s3://{BUCKET}/{name}/warehouse",
        "MODEL_BUCKET": BUCKET,
        "MODEL_PREFIX": f"{name}/models/",
    }
    yield as_object_user(variables, "gourmetgram_batch")
    drop_database(stack, name)


@pytest.fixture
def catalog(lake_environment: dict[str, str]) -> Iterator[Catalog]:
    """The test's lakehouse."""
    with open_catalog(IcebergSettings.load(lake_environment)) as opened:
        yield opened


@pytest.fixture
def publisher(lake_environment: dict[str, str]) -> Iterator[ModelPublisher]:
    """The test's folder of models."""
    opened = ModelPublisher(ObjectStoreSettings.load(lake_environment), ModelStoreSettings.load(lake_environment))
    yield opened
    opened.close()
