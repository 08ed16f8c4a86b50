"""A REST catalog of a test's own, and the lakehouse platform on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from gourmetgram.settings import IcebergSettings
from gourmetgram_tools.local.ports import choose_free
from gourmetgram_tools.local.settings import LocalSettings
from gourmetgram_tools.local.stack import Stack
from tests.support.databases import owner_url
from tests.support.iceberg_rest.gateway import CLIENT, SECRET, WAREHOUSE, Gateway, running_gateway
from tests.support.iceberg_rest.server import IcebergRestServer
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.secured.certificates import Certificates
from tests.support.secured.running import running

PREFIX = "PYICEBERG_CATALOG__GOURMETGRAM__"


class RestCatalogPlace(NamedTuple):
    """A running REST catalog.

    Attributes:
        gateway: its gateway.
        iceberg: settings of a client.
    """

    gateway: Gateway
    iceberg: IcebergSettings


@contextmanager
def running_rest_catalog(
    stack: Stack,
    platform_settings: IcebergSettings,
    database_url: str,
    certificates: Certificates,
    folder: Path,
    *,
    lends_keys: bool = False,
) -> Iterator[RestCatalogPlace]:
    """A REST catalog until the end of the block.

    Args:
        stack: the running servers.
        platform_settings: settings of a catalog in PostgreSQL; the tables are in the same folder.
        database_url: database of the catalog, which no other catalog uses.
        certificates: authority of its certificate.
        folder: folder of the server.
        lends_keys: True = clients get keys of the object store with each table.
    """
    root = IcebergSettings.load({**stack.environment(), f"{PREFIX}WAREHOUSE": platform_settings.warehouse_location})
    port = choose_free().api
    server = IcebergRestServer(
        folder, LocalSettings.load().cache, port, owner_url(database_url), root, lends_keys=lends_keys
    )
    with (
        running(server, folder / "iceberg-rest.log"),
        running_gateway(port, certificates.server) as gateway,
    ):
        settings = {name.upper(): str(value) for name, value in platform_settings.model_dump().items()}
        changes = {
            f"{PREFIX}TYPE": "rest",
            f"{PREFIX}URI": gateway.url,
            f"{PREFIX}CREDENTIAL": f"{CLIENT}:{SECRET}",
            f"{PREFIX}WAREHOUSE": WAREHOUSE,
            "LAKE_LOCATION": platform_settings.warehouse_location,
            "ICEBERG_CA_LOCATION": str(certificates.authority),
        }
        yield RestCatalogPlace(gateway, IcebergSettings.load({**settings, **changes}))


@pytest.fixture(name="rest_catalog")
def rest_catalog_fixture(
    stack: Stack, lakehouse: LakehousePlatform, certificates: Certificates, tmp_path: Path
) -> Iterator[RestCatalogPlace]:
    """A REST catalog; the test's lakehouse uses it."""
    sources = lakehouse.sources
    database = sources.postgres.database_url
    with running_rest_catalog(stack, sources.iceberg, database, certificates, tmp_path) as place:
        lakehouse.sources = sources._replace(iceberg=place.iceberg)
        yield place
