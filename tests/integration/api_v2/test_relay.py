"""The relay on a real broker: order, restarts, repeats, and one active relay at a time."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import pytest
from confluent_kafka import Consumer, TopicPartition
from sqlalchemy import text

from api_v2.pruning import Pruner
from api_v2.relay import BATCH, LOCK_KEY, Relay
from api_v2.settings import ApiV2Settings
from gourmetgram.database.engines import create_worker_engine
from gourmetgram.database.outbox import REPLAY
from gourmetgram.database.pool import Database
from gourmetgram.settings import PostgresSettings
from tests.support.api import Api, read_topic, running_api
from tests.support.topics import create_topic, delete_topic
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers


@pytest.fixture
async def outbox(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that writes events by hand."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.execute("TRUNCATE event_outbox")
    await connection.close()


class RunningRelay:
    """A relay and its database, without an API in front."""

    def __init__(self, environment: dict[str, str]) -> None:
        settings = ApiV2Settings.load(environment)
        self.database = Database(settings, "test_relay")
        self.relay = Relay(self.database, settings)

    async def __aenter__(self) -> Relay:
        await self.database.start()
        await self.relay.start()
        return self.relay

    async def __aexit__(self, *_: object) -> None:
        await self.relay.stop()
        await self.database.stop()


async def _add(outbox: asyncpg.Connection, topic: str, key: str, numbers: range) -> list[str]:
    """Events numbered in their payload; returns their ids."""
    ids = [str(uuid.uuid4()) for _ in numbers]
    payloads = [json.dumps({"event_id": id_, "number": number}) for id_, number in zip(ids, numbers, strict=True)]
    await outbox.execute(
        "INSERT INTO event_outbox (event_id, topic, message_key, payload) "
        "SELECT id, $3, $4, payload FROM unnest($1::uuid[], $2::jsonb[]) WITH ORDINALITY AS t(id, payload, n) "
        "ORDER BY n",
        ids,
        payloads,
        topic,
        key,
    )
    return ids


async def _emptied(outbox: asyncpg.Connection, topic: str | None = None) -> None:
    """Wait until no event waits, or none of a topic."""

    async def empty() -> bool:
        return not await outbox.fetchval(
            "SELECT count(*) FROM event_outbox WHERE published_at IS NULL AND ($1::text IS NULL OR topic = $1)", topic
        )

    await wait_until_async(empty, 30.0, "an empty outbox")


async def _published(environment: dict[str, str], topic: str, key: str, number: int) -> bool:
    return len(await _messages(environment, topic, key)) >= number


async def _forbid_marks(outbox: asyncpg.Connection) -> None:
    await outbox.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$")
    await outbox.execute("CREATE TRIGGER keep BEFORE UPDATE ON event_outbox EXECUTE FUNCTION keep()")


async def _allow_marks(outbox: asyncpg.Connection) -> None:
    await outbox.execute("DROP TRIGGER keep ON event_outbox")
    await outbox.execute("DROP FUNCTION keep")


async def _messages(environment: dict[str, str], topic: str, key: str) -> list[Any]:
    messages = await asyncio.to_thread(read_topic, environment["KAFKA_BOOTSTRAP_SERVERS"], topic)
    return [message for k, message in messages if k == key]


async def test_events_are_published_in_the_order_of_the_outbox_and_then_gone(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    topic, keys = api_environment["KAFKA_TOPIC_VIEWS"], [str(uuid.uuid4()) for _ in range(5)]
    for start in range(0, 2_500, 50):
        for key in keys:
            await _add(outbox, topic, key, range(start, start + 50))
    async with RunningRelay(api_environment) as relay:
        await _emptied(outbox)
        stats = relay.health()["kafka_stats"]
        assert isinstance(stats, dict)
        assert stats["total_events"] == 12_500
    for key in keys:
        assert [message["number"] for message in await _messages(api_environment, topic, key)] == list(range(2_500))


@pytest.mark.filterwarnings("ignore:.*_text is deprecated:DeprecationWarning")
async def test_a_partition_is_the_one_that_javas_and_kafka_pythons_clients_choose(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    from kafka.partitioner import murmur2  # here, because its import warns

    topic = api_environment["KAFKA_TOPIC_FLAGS"]
    keys = [str(uuid.uuid4()) for _ in range(20)]
    for key in keys:
        await _add(outbox, topic, key, range(1))
    async with RunningRelay(api_environment):
        await _emptied(outbox)

    def partitions() -> dict[str, int]:
        found = {}
        consumer = Consumer({"bootstrap.servers": api_environment["KAFKA_BOOTSTRAP_SERVERS"], "group.id": keys[0]})
        for number in range(4):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            consumer.assign([TopicPartition(topic, number, low)])
            for _ in range(low, high):
                message = consumer.poll(10)
                assert message is not None
                key = message.key()
                assert key is not None
                found[key.decode()] = number
        consumer.close()
        return found

    found = await asyncio.to_thread(partitions)
    assert {key: found[key] for key in keys} == {key: (murmur2(key.encode()) & 0x7FFFFFFF) % 4 for key in keys}


async def test_an_event_written_by_another_process_is_found_without_being_told(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_COMMENTS"], str(uuid.uuid4())
    async with RunningRelay(api_environment):
        for number in range(3):
            await _add(outbox, topic, key, range(number, number + 1))
            await _emptied(outbox)
    assert [message["number"] for message in await _messages(api_environment, topic, key)] == [0, 1, 2]


async def test_an_event_whose_transaction_ends_after_later_ones_is_published(
    outbox: asyncpg.Connection, database_url: str, api_environment: dict[str, str]
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_COMMENTS"], str(uuid.uuid4())
    slow = await asyncpg.connect(database_url)
    async with RunningRelay(api_environment):
        transaction = slow.transaction()
        await transaction.start()
        await _add(slow, topic, key, range(1))
        for number in range(1, 4):
            await _add(outbox, topic, key, range(number, number + 1))
            await _emptied(outbox)
        await transaction.commit()
        await _emptied(outbox)
    await slow.close()
    assert [message["number"] for message in await _messages(api_environment, topic, key)] == [1, 2, 3, 0]


async def test_a_crash_between_confirmation_and_mark_repeats_the_events_with_the_same_ids(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_UPLOADS"], str(uuid.uuid4())
    await _forbid_marks(outbox)
    ids = await _add(outbox, topic, key, range(20))
    async with RunningRelay(api_environment):
        await wait_until_async(partial(_published, api_environment, topic, key, 20), 30.0, "the first publication")
    await _allow_marks(outbox)
    assert await outbox.fetchval("SELECT count(*) FROM event_outbox WHERE published_at IS NULL") == 20
    async with RunningRelay(api_environment):
        await _emptied(outbox)
    sent = [message["event_id"] for message in await _messages(api_environment, topic, key)]
    # Each relay sends each event once, in order.
    assert sent == [*ids, *ids]


async def test_rows_that_cannot_be_marked_repeat_no_event_and_make_the_api_degraded(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_COMMENTS"], str(uuid.uuid4())
    await _forbid_marks(outbox)
    ids = await _add(outbox, topic, key, range(20))
    async with RunningRelay(api_environment) as relay:

        async def degraded() -> bool:
            return relay.health()["status"] == "degraded"

        await wait_until_async(degraded, 30.0, "the health of a relay that cannot mark")
        # Later events do not wait.
        ids += await _add(outbox, topic, key, range(20, 40))
        await wait_until_async(partial(_published, api_environment, topic, key, 40), 30.0, "the later events")
        await _allow_marks(outbox)
        await _emptied(outbox)

        async def healthy() -> bool:
            return relay.health()["status"] == "healthy"

        await wait_until_async(healthy, 30.0, "the health after the first mark")
    assert [message["event_id"] for message in await _messages(api_environment, topic, key)] == ids


async def test_published_events_are_deleted_after_their_retention_and_waiting_ones_never(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_VIEWS"], str(uuid.uuid4())
    # More than one slice, the first rows waiting for a topic that does not exist.
    await _add(outbox, "absent-topic", key, range(10))
    await _add(outbox, topic, key, range(Pruner.SLICE + 10))
    await outbox.execute("UPDATE event_outbox SET published_at = now() - interval '2 hours' WHERE topic = $1", topic)
    young = await _add(outbox, topic, key, range(3))
    async with RunningRelay(api_environment):

        async def pruned() -> bool:
            return bool(await outbox.fetchval("SELECT count(*) FROM event_outbox") == 13)

        await wait_until_async(pruned, 60.0, "the deletion of old events")
        await _emptied(outbox, topic)
    kept = await outbox.fetch("SELECT event_id::text FROM event_outbox WHERE topic = $1 ORDER BY sequence", topic)
    assert [row["event_id"] for row in kept] == young


async def test_a_replay_publishes_again_what_was_published_since_a_time(
    outbox: asyncpg.Connection, api_environment: dict[str, str], database_url: str
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_FLAGS"], str(uuid.uuid4())
    ids = await _add(outbox, topic, key, range(5))
    async with RunningRelay(api_environment):
        await _emptied(outbox)
        cut = await outbox.fetchval("SELECT clock_timestamp()")
        ids += await _add(outbox, topic, key, range(5, 10))
        await _emptied(outbox)
        engine = create_worker_engine(PostgresSettings(database_url=database_url), "replay")
        with engine.begin() as connection:
            assert connection.execute(text(REPLAY), {"since": cut}).rowcount == 5
        engine.dispose()
        await _emptied(outbox)
    assert [message["event_id"] for message in await _messages(api_environment, topic, key)] == [*ids, *ids[5:]]


async def test_two_relays_publish_each_event_once_and_one_takes_over_from_the_other(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_VIEWS"], str(uuid.uuid4())
    first = RunningRelay(api_environment)
    async with RunningRelay(api_environment):
        async with first:
            ids = await _add(outbox, topic, key, range(500))
            await _emptied(outbox)
        ids += await _add(outbox, topic, key, range(500, 600))
        await _emptied(outbox)
    assert [message["event_id"] for message in await _messages(api_environment, topic, key)] == ids


async def test_a_relay_that_loses_its_database_connection_publishes_again_soon(
    outbox: asyncpg.Connection, api_environment: dict[str, str]
) -> None:
    topic, key = api_environment["KAFKA_TOPIC_VIEWS"], str(uuid.uuid4())
    async with RunningRelay(api_environment):
        await _add(outbox, topic, key, range(10))
        await _emptied(outbox)
        killed = await outbox.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND (classid::bigint << 32) + objid::bigint = $1",
            LOCK_KEY,
        )
        assert killed == 1
        await _add(outbox, topic, key, range(10, 20))
        await _emptied(outbox)
    assert [message["number"] for message in await _messages(api_environment, topic, key)] == list(range(20))


async def test_a_stop_publishes_what_was_just_committed(api_environment: dict[str, str]) -> None:
    async with running_api(2, api_environment) as api:

        async def connected() -> bool:
            return bool((await api.http.get("/health")).json()["kafka_enabled"])

        await wait_until_async(connected, what="the relay")
        image_id = await api.image()
        accepted = await _views(api, image_id, 100)
    topic = api_environment["KAFKA_TOPIC_VIEWS"]
    assert accepted <= len(await _messages(api_environment, topic, image_id)) <= 100


@pytest.mark.parametrize("known", [True, False], ids=["deleted while in use", "missing from the start"])
async def test_a_missing_topic_holds_up_no_other_and_its_events_follow_in_order(
    outbox: asyncpg.Connection, api_environment: dict[str, str], caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    lost, other = api_environment["KAFKA_TOPIC_VIEWS"], api_environment["KAFKA_TOPIC_COMMENTS"]
    key = str(uuid.uuid4())
    if not known:
        await asyncio.to_thread(delete_topic, api_environment, lost)
    try:
        async with RunningRelay(api_environment) as relay:

            async def status(wanted: str) -> bool:
                return relay.health()["status"] == wanted

            async def left(number: int) -> bool:
                rows: int = await outbox.fetchval(
                    "SELECT count(*) FROM event_outbox WHERE topic = $1 AND published_at IS NULL", other
                )
                return rows == number

            if known:
                await _add(outbox, lost, str(uuid.uuid4()), range(10))
                await _emptied(outbox)
                await wait_until_async(partial(status, "healthy"), what="a healthy relay")
                await asyncio.to_thread(delete_topic, api_environment, lost)
            # More rows than the relay reads at once, each behind the next.
            await _add(outbox, lost, key, range(BATCH + 200))
            for number in range(5):
                await _add(outbox, other, key, range(number, number + 1))
                await wait_until_async(partial(left, 0), 10.0, "the event of another topic to leave the outbox")
                await _add(outbox, lost, key, range(BATCH + 200 + number, BATCH + 201 + number))
            await wait_until_async(partial(status, "degraded"), 10.0, "the truth in /health")
            assert set(relay.health()) == {"status", "kafka_enabled", "kafka_stats"}
            assert lost in "".join(record.getMessage() for record in caplog.records if record.levelname == "WARNING")
            await asyncio.to_thread(create_topic, api_environment, lost)
            await _emptied(outbox)
            await wait_until_async(partial(status, "healthy"), 10.0, "a healthy relay")
    finally:
        await asyncio.to_thread(create_topic, api_environment, lost)
    assert [message["number"] for message in await _messages(api_environment, other, key)] == list(range(5))
    numbers = [message["number"] for message in await _messages(api_environment, lost, key)]
    # A repeat is allowed, a gap or another order of the first copies is not.
    assert list(dict.fromkeys(numbers)) == list(range(BATCH + 205))


async def test_events_of_one_image_keep_the_order_of_their_times(api_v2: Api) -> None:
    image_id = await api_v2.image()
    accepted = sum([await _views(api_v2, image_id, 30) for _ in range(10)])
    events = await api_v2.events("view", image_id, accepted)
    times = [event["viewed_at"] for event in events]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


async def _views(api: Api, image_id: str, number: int) -> int:
    """Send views at once; returns how many were accepted. A busy machine answers some of them with 503."""
    answers = await asyncio.gather(*(api.view(image_id) for _ in range(number)))
    accepted = [answer for answer in answers if answer.is_success]
    assert accepted
    return len(accepted)
