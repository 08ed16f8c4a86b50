"""Fixtures of tests that score: settings with topics and a group of their own, rows, requests, Redis."""

from collections.abc import Callable

import pytest

from gourmetgram.settings import KafkaSettings
from tests.support.databases import role_url
from tests.support.scoring import People, Requests
from tests.support.topic_variables import OTHER_TOPICS


@pytest.fixture
def scorer_environment(
    database_url: str,
    kafka_bootstrap: str,
    redis_environment: dict[str, str],
    make_topics: Callable[..., dict[str, str]],
    unique_name: Callable[[str], str],
) -> dict[str, str]:
    """The service's variables; an unknown image is looked for during 1.5 seconds instead of 30."""
    return {
        "DATABASE_URL": role_url(database_url, "gourmetgram_scorer"),
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
        **make_topics(*OTHER_TOPICS),
        "KAFKA_CONSUMER_GROUP": unique_name("scorer"),
        "HEALTH_HOST": "127.0.0.1",
        "HEALTH_PORT": "0",
        "UNKNOWN_IMAGE_WAIT": "1.5",
        **redis_environment,
    }


@pytest.fixture
def people(database_url: str) -> People:
    """Writes rows into this module's database."""
    return People(database_url)


@pytest.fixture
def requests(scorer_environment: dict[str, str]) -> Requests:
    """Sends requests to this test's scorer."""
    return Requests(KafkaSettings.load(scorer_environment), scorer_environment["KAFKA_CONSUMER_GROUP"])
