"""A Spark session: its settings from the properties of the catalog, and its failure."""

import logging

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse.catalog import catalog_properties
from gourmetgram.lakehouse.engine.spark import CLIENT_LOG, session_settings, spark_session
from gourmetgram.settings import IcebergSettings

PREFIX = "spark.sql.catalog.gourmetgram"
VARIABLE = "PYICEBERG_CATALOG__GOURMETGRAM__"


def settings_for(variables: dict[str, str]) -> dict[str, str]:
    return session_settings(catalog_properties(IcebergSettings.load(variables)))


def test_the_session_gets_the_catalog_with_its_parameters_and_login() -> None:
    address = "postgresql+psycopg2://me:s%40fe@db:5433/lake?sslmode=verify-full&sslrootcert=/ca.pem"
    found = settings_for({f"{VARIABLE}URI": address})
    assert found[f"{PREFIX}.uri"] == "jdbc:postgresql://db:5433/lake?sslmode=verify-full&sslrootcert=%2Fca.pem"
    assert (found[f"{PREFIX}.jdbc.user"], found[f"{PREFIX}.jdbc.password"]) == ("me", "s@fe")
    assert found[f"{PREFIX}.s3.access-key-id"] == "admin"
    assert found[f"{PREFIX}.s3.path-style-access"] == "true"


def test_a_chain_of_providers_gives_no_key() -> None:
    found = settings_for({"S3_CREDENTIALS": "chain", "S3_ADDRESSING_STYLE": "virtual"})
    assert not [name for name in found if name.endswith(("-key", "-key-id"))]
    assert found[f"{PREFIX}.s3.path-style-access"] == "false"


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        (
            {"CREDENTIAL": "me:secret"},
            {"credential": "me:secret", "scope": "catalog", "oauth2-server-uri": "https://lake/v1/oauth/tokens"},
        ),
        ({"TOKEN": "a-token"}, {"token": "a-token"}),
        ({}, {}),
    ],
)
def test_a_rest_catalog_gets_its_address_and_login(login: dict[str, str], expected: dict[str, str]) -> None:
    place = {"TYPE": "rest", "URI": "https://lake", "WAREHOUSE": "s3://lake/tables"}
    found = settings_for({f"{VARIABLE}{name}": value for name, value in {**place, **login}.items()})
    own = {
        name.removeprefix(f"{PREFIX}."): value
        for name, value in found.items()
        if name.startswith(f"{PREFIX}.") and not name.removeprefix(f"{PREFIX}.").startswith(("s3.", "client."))
    }
    assert own == {
        "type": "rest",
        "uri": "https://lake",
        "warehouse": "s3://lake/tables",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "cache-enabled": "false",
        **expected,
    }


def test_a_dead_server_is_named_and_the_log_of_the_client_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow configures all logs, which switches the client's on.
    monkeypatch.setattr(logging.getLogger(CLIENT_LOG), "disabled", False)
    with (
        pytest.raises(TransientError, match=r"the Spark server sc://127.0.0.1:1 is away"),
        spark_session("sc://127.0.0.1:1"),
    ):
        pytest.fail("a session without a server")
    assert not logging.getLogger(CLIENT_LOG).isEnabledFor(logging.ERROR)
