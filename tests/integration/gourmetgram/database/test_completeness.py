"""The watermark of the events is read from an index, however long the outbox is."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from gourmetgram.database.completeness import OLDEST_UNPUBLISHED, events_watermark
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.databases import create_database, drop_database

pytestmark = pytest.mark.servers

ROWS = 50_000
_FILL = """
INSERT INTO event_outbox (event_id, topic, message_key, payload, created_at, published_at)
SELECT gen_random_uuid(), 'views', 'key', '{}', now() - n * interval '1 second', CASE WHEN mod(n, 2) = 0 THEN now() END
FROM generate_series(1, %s) AS n
"""


@pytest.fixture
def url(stack: Stack, unique_name: UniqueName) -> Iterator[str]:
    name = unique_name("watermark")
    yield create_database(stack, name)
    drop_database(stack, name)


def test_the_oldest_unpublished_event_is_found_by_one_look_into_an_index(url: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_FILL, (ROWS,))
        cursor.execute("VACUUM ANALYZE event_outbox")
        cursor.execute(f"EXPLAIN (FORMAT TEXT, ANALYZE, TIMING OFF, SUMMARY OFF) {OLDEST_UNPUBLISHED}")
        plan = "\n".join(line for (line,) in cursor)
        assert "idx_event_outbox_unpublished_created" in plan, plan
        assert "rows=1 " in plan
        cursor.execute("SELECT min(created_at) FROM event_outbox WHERE published_at IS NULL")
        ((oldest,),) = cursor.fetchall()
        assert events_watermark(cursor).complete_through == oldest
