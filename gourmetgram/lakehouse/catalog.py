"""The Iceberg catalog, opened from settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.exc import IntegrityError, ProgrammingError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.settings import IcebergSettings

CATALOG_NAME: Final = "gourmetgram"


@contextmanager
def open_catalog(settings: IcebergSettings) -> Iterator[Catalog]:
    """The catalog `gourmetgram`; its connections are closed at the end.

    Raises:
        TransientError: the catalog's database is away.
    """
    with named_outages("the Iceberg catalog could not be opened"):
        catalog = _create(settings)
    try:
        yield catalog
    finally:
        catalog.close()


def catalog_properties(settings: IcebergSettings) -> dict[str, str]:
    """The properties with which PyIceberg reaches the catalog and the warehouse."""
    return {
        "type": settings.pyiceberg_catalog__gourmetgram__type,
        "uri": settings.uri,
        "pool_pre_ping": "true",
        "warehouse": settings.warehouse,
        "s3.endpoint": settings.s3_endpoint,
        "s3.access-key-id": settings.s3_access_key_id,
        "s3.secret-access-key": settings.s3_secret_access_key,
        "s3.region": settings.s3_region,
        "s3.connect-timeout": "5",
        "s3.request-timeout": "60",
    }


# Two processes that open a new catalog at once both create its tables; the one that loses finds them next time.
@retry(
    retry=retry_if_exception_type((IntegrityError, ProgrammingError)),
    stop=stop_after_attempt(4),
    wait=wait_random(0.05, 0.3),
    reraise=True,
)
def _create(settings: IcebergSettings) -> Catalog:
    return SqlCatalog(CATALOG_NAME, **catalog_properties(settings))
