"""The Iceberg catalog, opened from settings."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.io import S3_FORCE_VIRTUAL_ADDRESSING
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from gourmetgram.lakehouse.file_io import CA_FILE, LakeFileIO
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.rest_catalog import open_rest_catalog, rest_properties
from gourmetgram.settings import IcebergSettings

CATALOG_NAME: Final = "gourmetgram"
WAREHOUSE_LOCATION: Final = "gourmetgram.warehouse-location"
"""Property of the catalog: folder of the tables, `s3://bucket/folder`."""

_VERSIONS: Final = text(
    "SELECT table_namespace || '.' || table_name, metadata_location FROM iceberg_tables "
    "WHERE catalog_name = :catalog AND metadata_location IS NOT NULL"
)


@contextmanager
def open_catalog(settings: IcebergSettings) -> Iterator[Catalog]:
    """Open the catalog `gourmetgram`; its connections are closed at the end of the block.

    Raises:
        TransientError: the catalog's database or server is away.
        PermanentError: a REST catalog refuses the login or the warehouse.
    """
    with named_outages("the Iceberg catalog could not be opened"):
        catalog = _create(settings)
    try:
        yield catalog
    finally:
        catalog.close()


def catalog_properties(settings: IcebergSettings) -> dict[str, str]:
    """PyIceberg properties of the catalog and the warehouse."""
    return {
        "type": settings.pyiceberg_catalog__gourmetgram__type,
        "uri": settings.uri,
        **(rest_properties(settings) if settings.is_rest else {"pool_pre_ping": "true"}),
        "py-io-impl": f"{LakeFileIO.__module__}.{LakeFileIO.__qualname__}",
        "warehouse": settings.warehouse,
        WAREHOUSE_LOCATION: settings.warehouse_location,
        "s3.endpoint": settings.s3_endpoint,
        **_s3_login(settings),
        "s3.region": settings.s3_region,
        S3_FORCE_VIRTUAL_ADDRESSING: str(settings.s3_addressing_style == "virtual"),
        CA_FILE: settings.aws_ca_bundle,
        "s3.connect-timeout": "5",
        "s3.request-timeout": "60",
    }


def _s3_login(settings: IcebergSettings) -> dict[str, str]:
    if not settings.uses_keys:
        return {}
    return {
        "s3.access-key-id": settings.s3_access_key_id,
        "s3.secret-access-key": settings.s3_secret_access_key,
    }


def table_versions(settings: IcebergSettings) -> dict[str, str]:
    """The current metadata file of each table, by the table's name; empty before the catalog's first use.

    This creates nothing: `open_catalog` creates the tables of a catalog in PostgreSQL.

    Raises:
        TransientError: the catalog's database or server is away.
        PermanentError: a REST catalog refuses the login or the warehouse.
    """
    return _versions_of_server(settings) if settings.is_rest else _versions_in_database(settings)


def _versions_in_database(settings: IcebergSettings) -> dict[str, str]:
    engine = create_engine(settings.uri)
    try:
        with named_outages("the Iceberg catalog could not be read"), engine.connect() as connection:
            if not inspect(connection).has_table("iceberg_tables"):
                return {}
            return {row[0]: row[1] for row in connection.execute(_VERSIONS, {"catalog": CATALOG_NAME})}
    finally:
        engine.dispose()


def _versions_of_server(settings: IcebergSettings) -> dict[str, str]:
    versions = {}
    with open_catalog(settings) as catalog, named_outages("the Iceberg catalog could not be read"):
        for namespace in catalog.list_namespaces():
            # Another program may remove a namespace or a table in between.
            with suppress(NoSuchNamespaceError):
                for name in catalog.list_tables(namespace):
                    with suppress(NoSuchTableError):
                        versions[".".join(name)] = catalog.load_table(name).metadata_location
    return versions


def _create(settings: IcebergSettings) -> Catalog:
    properties = catalog_properties(settings)
    if settings.is_rest:
        return open_rest_catalog(CATALOG_NAME, settings.iceberg_ca_location, properties)
    return _create_in_database(properties)


# Two processes that open a new catalog at once both create its tables; the loser finds them at its next attempt.
@retry(
    retry=retry_if_exception_type((IntegrityError, ProgrammingError)),
    stop=stop_after_attempt(4),
    wait=wait_random(0.05, 0.3),
    reraise=True,
)
def _create_in_database(properties: dict[str, str]) -> Catalog:
    return SqlCatalog(CATALOG_NAME, **properties)
