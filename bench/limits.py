"""Upper bounds of the servers themselves, measured in the same run as the platform."""

import asyncio
import time
import uuid

import asyncpg
import redis

from gourmetgram.events import BadMessage, parse_event
from gourmetgram.kafka.clients import create_consumer
from gourmetgram.kafka.records import to_record
from gourmetgram.settings import KafkaSettings, PostgresSettings, RedisSettings

BATCH = 64
REDIS_BATCH = 500

_VIEW_BATCH = """
WITH viewed AS (UPDATE images SET views = views + $2 WHERE id = $1 RETURNING id)
INSERT INTO event_outbox (event_id, topic, message_key, payload)
SELECT gen_random_uuid(), 'gourmetgram.views', id::text, '{"event_type": "view"}'
FROM viewed, generate_series(1, $2)
"""

_ADD_ALL = """
for i = 2, #ARGV, 2 do redis.call('ZADD', ARGV[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', ARGV[1], 7200)
"""


def postgres_group_commit(settings: PostgresSettings, seconds: float) -> float:
    """Rows per second of one connection that commits batches of 64 views with their outbox rows."""

    async def run() -> float:
        connection = await asyncpg.connect(settings.database_url)
        try:
            image_id = await connection.fetchval("SELECT id FROM images LIMIT 1")
            statement = await connection.prepare(_VIEW_BATCH)
            batches, begin = 0, time.perf_counter()
            while time.perf_counter() - begin < seconds:
                await statement.fetch(image_id, BATCH)
                batches += 1
            return batches * BATCH / (time.perf_counter() - begin)
        finally:
            await connection.close()

    return asyncio.run(run())


def redis_script(settings: RedisSettings, events: int) -> float:
    """Members per second that one client adds to one sorted set, 500 in a script call."""
    client = redis.Redis(settings.redis_host, settings.redis_port, settings.redis_db)
    script = client.register_script(_ADD_ALL)
    key = f"bench:{uuid.uuid4()}"
    begin = time.perf_counter()
    for start in range(0, events, REDIS_BATCH):
        arguments: list[str | float] = [key]
        for number in range(start, start + REDIS_BATCH):
            arguments += [number, f"member:{number}"]
        script(args=arguments)
    rate = events / (time.perf_counter() - begin)
    client.delete(key)
    return rate


def kafka_consume_and_decode(settings: KafkaSettings, topic: str, events: int) -> float:
    """Events per second that one client reads and parses, doing nothing with them."""
    consumer = create_consumer(settings, "bench", f"bench-{uuid.uuid4()}")
    consumer.subscribe([topic])
    seen, begin = 0, 0.0
    while seen < events:
        messages = consumer.consume(500, timeout=5.0)
        begin = begin or time.perf_counter()
        for message in messages:
            assert not isinstance(parse_event(to_record(message)), BadMessage)
        seen += len(messages)
    rate = seen / (time.perf_counter() - begin)
    consumer.close()
    return rate
