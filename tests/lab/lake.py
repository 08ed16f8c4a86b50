"""The lab's Iceberg tables, through the published ports."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings
from tests.lab.errors import NotSeenError
from tests.lab.lab import Lab


def variables(lab: Lab) -> dict[str, str]:
    """The PyIceberg variables of the lab, with the addresses of this machine."""
    login = f"{lab.variable('POSTGRES_USER')}:{lab.variable('POSTGRES_PASSWORD')}"
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    return {
        f"{prefix}TYPE": "sql",
        f"{prefix}URI": f"postgresql+psycopg2://{login}@localhost:5432/iceberg_catalog",
        f"{prefix}S3__ENDPOINT": "http://localhost:9000",
        f"{prefix}S3__ACCESS_KEY_ID": lab.variable("MINIO_ROOT_USER"),
        f"{prefix}S3__SECRET_ACCESS_KEY": lab.variable("MINIO_ROOT_PASSWORD"),
        f"{prefix}WAREHOUSE": "s3://gourmetgram-datalake/warehouse",
    }


@contextmanager
def catalog(lab: Lab) -> Iterator[Catalog]:
    """The catalog `gourmetgram`.

    Raises:
        NotSeenError: its database is away.
    """
    try:
        with open_catalog(IcebergSettings.load(variables(lab))) as found:
            yield found
    except PlatformError as error:
        raise NotSeenError(f"Iceberg: {error}") from error


def rows(lab: Lab, table: str) -> int:
    """Number of rows of a table.

    Raises:
        NotSeenError: there is no such table.
    """
    with catalog(lab) as found:
        try:
            return found.load_table(table).scan().count()
        except NoSuchTableError as error:
            raise NotSeenError(f"there is no table {table}") from error
