"""The way out of a cut log: nothing is compared before the relay has published the events again."""

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.settings import PostgresSettings
from tests.chaos.nemesis.ways_out import replay_since
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


def test_a_replay_ends_when_its_events_are_published(database_url: str) -> None:
    engine = create_worker_engine(PostgresSettings(database_url=database_url), "test")
    ended = threading.Event()
    since = datetime.now(UTC)

    def replay() -> None:
        replay_since(engine, since)
        ended.set()

    def publish() -> int:
        """As the relay does."""
        with engine.begin() as connection:
            query = "UPDATE event_outbox SET published_at = now() WHERE published_at IS NULL"
            return connection.execute(text(query)).rowcount

    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO event_outbox (event_id, topic, message_key, payload, published_at)"
                " VALUES (gen_random_uuid(), 'a topic', 'a key', '{}', now())"
            )
        )
    thread = threading.Thread(target=replay, daemon=True)
    thread.start()
    # The event waits again; with it unpublished, the replay has not ended.
    with engine.connect() as connection:
        pending = "SELECT count(*) FROM event_outbox WHERE published_at IS NULL"
        wait_until(lambda: connection.execute(text(pending)).scalar_one(), what="the event in the outbox")
    assert not ended.wait(1.0)
    assert publish() == 1
    assert ended.wait(30.0)
    thread.join()
    engine.dispose()
