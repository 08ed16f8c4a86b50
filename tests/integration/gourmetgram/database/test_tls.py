"""Every driver of PostgreSQL keeps the parameters of the URL: TLS, and the check of the certificate and of the host."""

import pytest
from sqlalchemy import text

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.database.migrate import migrate
from gourmetgram.database.pool import Database
from gourmetgram.database.roles import RoleSettings, ensure_roles
from gourmetgram.errors import PlatformError, SettingsError
from gourmetgram.settings import PostgresSettings
from tests.support.secured.certificates import Certificates
from tests.support.secured.postgres import SecuredPostgres

pytestmark = pytest.mark.servers

TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


async def by_asyncpg(settings: PostgresSettings) -> object:
    database = Database(settings, "test")
    await database.start()
    try:
        return (await database.fetch(TLS))[0][0]
    finally:
        await database.stop()


def by_sqlalchemy(settings: PostgresSettings) -> object:
    engine = create_worker_engine(settings, "test")
    try:
        with engine.connect() as connection:
            return connection.execute(text(TLS)).scalar()
    finally:
        engine.dispose()


async def test_both_drivers_connect_over_tls(secured_postgres: SecuredPostgres) -> None:
    settings = PostgresSettings.load(secured_postgres.environment("gourmetgram_consumer"))
    assert by_sqlalchemy(settings) is True
    api = PostgresSettings.load(secured_postgres.environment("gourmetgram_api"))
    assert await by_asyncpg(api) is True


def test_the_schema_and_the_roles_are_brought_up_to_date_over_tls(secured_postgres: SecuredPostgres) -> None:
    settings = PostgresSettings.load(secured_postgres.environment())
    assert not migrate(settings).changed
    ensure_roles(settings, RoleSettings())


async def test_another_authority_is_refused_by_both(
    secured_postgres: SecuredPostgres, certificates: Certificates
) -> None:
    url = secured_postgres.url().replace(certificates.authority.name, certificates.stranger.name)
    settings = PostgresSettings(database_url=url)
    with pytest.raises(PlatformError, match="certificate verify failed"):
        migrate(settings)
    with pytest.raises(PlatformError, match="certificate") as refused:
        await by_asyncpg(settings)
    assert "gourmetgram_postgres" not in f"{refused.value} {settings!r}"


async def test_a_connection_without_tls_is_refused_by_the_server(secured_postgres: SecuredPostgres) -> None:
    settings = PostgresSettings(database_url=secured_postgres.url().partition("?")[0] + "?sslmode=disable")
    with pytest.raises(PlatformError, match="no encryption"):
        migrate(settings)
    with pytest.raises(PlatformError, match="no encryption"):
        await by_asyncpg(settings)


async def test_options_of_libpq_alone_do_not_reach_the_server(secured_postgres: SecuredPostgres) -> None:
    url = f"{secured_postgres.url()}&connect_timeout=3&keepalives_idle=5&application_name=other&gssencmode=prefer"
    assert await by_asyncpg(PostgresSettings(database_url=url)) is True


async def test_a_protection_that_asyncpg_cannot_give_is_refused(secured_postgres: SecuredPostgres) -> None:
    settings = PostgresSettings(database_url=f"{secured_postgres.url()}&channel_binding=require")
    with pytest.raises(SettingsError, match="channel_binding=require") as refused:
        Database(settings, "test")
    assert "gourmetgram_postgres" not in str(refused.value)


async def test_authorities_of_the_system_are_named_as_for_libpq(
    secured_postgres: SecuredPostgres, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    url = f"{secured_postgres.url().partition('?')[0]}?sslmode=verify-full&sslrootcert=system"
    settings = PostgresSettings(database_url=url)
    assert await by_asyncpg(settings) is True
    assert by_sqlalchemy(settings) is True
