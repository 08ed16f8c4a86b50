"""Settings of the API's connections on a real PostgreSQL."""

import pytest

from gourmetgram.database.pool import Database, deadline_after
from gourmetgram.settings import PostgresSettings

pytestmark = pytest.mark.servers


async def test_the_server_ends_the_session_of_a_client_that_vanished(database_url: str) -> None:
    """A relay's host that loses its network must not keep the relay's lock for two hours, the default of Linux."""
    database = Database(PostgresSettings(database_url=database_url), "test_pool")
    connection = await database.connect(deadline_after())
    try:
        values = [
            int(await connection.fetchval(f"SHOW tcp_keepalives_{each}")) for each in ("idle", "interval", "count")
        ]
    finally:
        await connection.close()
    idle_s, interval_s, count = values
    assert idle_s + count * interval_s <= 15
