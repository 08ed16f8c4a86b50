"""The lakehouse on Iceberg's own REST server, behind a gateway with TLS and a login."""

import pytest

from gourmetgram.lakehouse.schemas import ALL_TABLES
from tests.support.iceberg_rest.fixtures import RestCatalogPlace
from tests.support.lakehouse_platform import LakehousePlatform

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("rest_catalog")]


def test_smoke(lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace) -> None:
    lakehouse.publish_many(40, "view")
    lakehouse.run()
    lakehouse.publish_many(40, "comment")
    lakehouse.run()
    lakehouse.assert_exact()
    print(rest_catalog.gateway.requests)
    with lakehouse.catalog() as c:
        for n in ALL_TABLES:
            t = c.load_table(n)
            print(t.metadata_location, t.properties)
