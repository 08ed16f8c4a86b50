"""Fixtures for tests of the stream consumer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from gourmetgram_tools.local.stack import Stack
from tests.support.consumer_platform import ConsumerPlatform
from tests.support.databases import role_url
from tests.support.topic_variables import EVENT_TOPICS, OTHER_TOPICS


@pytest.fixture
def platform(
    stack: Stack,
    database_url: str,
    make_topics: Callable[..., dict[str, str]],
    kafka_bootstrap: str,
    unique_name: Callable[[str], str],
    tmp_path: Path,
) -> Iterator[ConsumerPlatform]:
    """Topics, group and Redis database of one test, PostgreSQL database of its module."""
    topics = make_topics(*EVENT_TOPICS, *OTHER_TOPICS)
    variables = stack.environment()
    host, port = variables["REDIS_HOST"], int(variables["REDIS_PORT"])
    with redis.Redis(host, port, 0) as counter:
        number = 1 + int(counter.incr("tests:databases")) % 1000
    client = redis.Redis(host, port, number, decode_responses=True)
    client.flushdb()
    yield ConsumerPlatform(
        environment={
            **topics,
            "KAFKA_TOPICS": ",".join(topics[variable] for variable in EVENT_TOPICS),
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
            "KAFKA_CONSUMER_GROUP": unique_name("consumer"),
            "REDIS_HOST": host,
            "REDIS_PORT": str(port),
            "REDIS_DB": str(number),
            "DATABASE_URL": role_url(database_url, "gourmetgram_consumer"),
            "HEALTH_PORT": "0",
        },
        redis=client,
        folder=tmp_path,
    )
    client.flushdb()
    client.close()
