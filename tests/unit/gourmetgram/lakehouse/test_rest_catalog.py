"""Settings of a REST catalog, and the properties that PyIceberg gets from them."""

import pytest

from gourmetgram.errors import SettingsError
from gourmetgram.lakehouse.catalog import WAREHOUSE_LOCATION, catalog_properties
from gourmetgram.lakehouse.rest_catalog import rest_properties
from gourmetgram.settings import IcebergSettings

PREFIX = "PYICEBERG_CATALOG__GOURMETGRAM__"
REST = {f"{PREFIX}TYPE": "rest", f"{PREFIX}URI": "https://catalog.example/iceberg/"}


def test_a_login_is_exchanged_at_the_catalog_unless_another_address_is_given() -> None:
    login = REST | {f"{PREFIX}CREDENTIAL": "client:secret"}
    assert rest_properties(IcebergSettings.load(login)) == {
        "credential": "client:secret",
        "oauth2-server-uri": "https://catalog.example/iceberg/v1/oauth/tokens",
        "scope": "catalog",
    }
    elsewhere = {f"{PREFIX}OAUTH2_SERVER_URI": "https://login.example/token", f"{PREFIX}SCOPE": "PRINCIPAL_ROLE:ALL"}
    assert rest_properties(IcebergSettings.load(login | elsewhere)) == {
        "credential": "client:secret",
        "oauth2-server-uri": "https://login.example/token",
        "scope": "PRINCIPAL_ROLE:ALL",
    }


def test_a_catalog_without_a_login_gets_no_property_of_one() -> None:
    assert rest_properties(IcebergSettings.load(REST)) == {}


def test_the_warehouse_is_a_folder_or_a_name_with_a_folder() -> None:
    properties = catalog_properties(IcebergSettings.load(REST | {f"{PREFIX}WAREHOUSE": "s3://bucket/folder/"}))
    assert properties["warehouse"] == properties[WAREHOUSE_LOCATION] == "s3://bucket/folder"
    named = REST | {f"{PREFIX}WAREHOUSE": "lab", "LAKE_LOCATION": "s3://bucket/folder/"}
    properties = catalog_properties(IcebergSettings.load(named))
    assert (properties["warehouse"], properties[WAREHOUSE_LOCATION]) == ("lab", "s3://bucket/folder")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({f"{PREFIX}TYPE": "rest"}, "needs an address with http:// or https://"),
        (REST | {f"{PREFIX}WAREHOUSE": "lab"}, "LAKE_LOCATION is needed"),
        ({f"{PREFIX}TYPE": "glue"}, "'sql' or 'rest'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(variables: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        IcebergSettings.load(variables)


def test_no_secret_is_shown() -> None:
    settings = IcebergSettings.load(REST | {f"{PREFIX}CREDENTIAL": "client:secret", f"{PREFIX}TOKEN": "abc-token"})
    assert "secret" not in repr(settings).replace("gourmetgram_minio", "")
    assert "abc-token" not in repr(settings)
