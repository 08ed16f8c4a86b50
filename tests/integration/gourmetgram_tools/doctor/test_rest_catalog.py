"""The doctor names what is wrong between the settings and a REST catalog."""

import pytest

from gourmetgram_tools.doctor.findings import Finding, Level
from gourmetgram_tools.doctor.servers import check_servers
from tests.support.iceberg_rest.fixtures import PREFIX, RestCatalogPlace
from tests.support.iceberg_rest.gateway import SECRET
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.secured.certificates import Certificates

pytestmark = pytest.mark.servers


def examined(lakehouse: LakehousePlatform, changes: dict[str, str]) -> Finding:
    """Finding about the catalog, without a secret."""
    findings = {each.check: each for each in check_servers({**lakehouse.environment(), **changes})}
    found = findings["Iceberg catalog"]
    assert SECRET not in str(found)
    return found


def test_a_rest_catalog_answers_over_tls_and_takes_the_login(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace
) -> None:
    found = examined(lakehouse, {})
    assert found.level is Level.OK, found
    assert f"localhost:{rest_catalog.gateway.server_port} answers, over TLS, and takes the login" in found.seen


# Changed settings, words seen, variable of the advice. {port}, {stranger}: port of the gateway, another authority.
WRONG = [
    ({f"{PREFIX}CREDENTIAL": "gourmetgram:another"}, "refuses the login (invalid_client", f"{PREFIX}CREDENTIAL"),
    ({f"{PREFIX}CREDENTIAL": "", f"{PREFIX}TOKEN": "another"}, "refuses the login", f"{PREFIX}TOKEN"),
    ({f"{PREFIX}WAREHOUSE": "another"}, "NoSuchWarehouseException: Warehouse does not exist", f"{PREFIX}WAREHOUSE"),
    ({f"{PREFIX}URI": "https://localhost:1"}, "no program accepts a connection", f"{PREFIX}URI"),
    ({f"{PREFIX}URI": "http://localhost:{port}"}, "the server speaks TLS", f"https:// in {PREFIX}URI"),
    ({"ICEBERG_CA_LOCATION": "{stranger}"}, "not trusted", "ICEBERG_CA_LOCATION"),
    ({"ICEBERG_CA_LOCATION": "/no/such/file"}, "cannot be read", "ICEBERG_CA_LOCATION"),
]


def test_a_wrong_setting_is_named(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace, certificates: Certificates
) -> None:
    places = {"port": rest_catalog.gateway.server_port, "stranger": certificates.stranger}
    for changes, seen, advice in WRONG:
        found = examined(lakehouse, {name: value.format(**places) for name, value in changes.items()})
        assert found.level is Level.PROBLEM, (changes, found)
        assert seen in found.seen
        assert advice in found.advice


def test_a_setting_that_is_missing_is_named() -> None:
    (finding,) = check_servers({f"{PREFIX}TYPE": "rest"})
    assert f"{PREFIX}TYPE=rest needs an address with http:// or https:// in {PREFIX}URI" in finding.seen
    (finding,) = check_servers({f"{PREFIX}TYPE": "rest", f"{PREFIX}URI": "https://host", f"{PREFIX}WAREHOUSE": "lab"})
    assert "LAKE_LOCATION is needed, s3://bucket/folder" in finding.seen
