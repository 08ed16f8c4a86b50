"""Fixtures for all tests: the servers of the test stack, and things in them that belong to one test module alone.

`GOURMETGRAM_KEEP_TEST_STACK=1` leaves the servers running after a run (about ten seconds saved at the next one).
"""

import faulthandler
import gc
import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import HealthCheck, settings

from gourmetgram.clients import s3
from gourmetgram.collector import freeze_heap
from gourmetgram.settings import KafkaSettings, ObjectStoreSettings, process_environment
from gourmetgram.topics import ensure_topics
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.local.stack import Stack
from tests.support.databases import create_database, drop_database
from tests.support.memory import files_in_memory, in_memory
from tests.support.shared_stack import shared_stack
from tests.support.topic_variables import EVENT_TOPICS, OTHER_TOPICS

pytest_plugins = [
    "tests.support.consumer_fixtures",
    "tests.support.lakehouse_platform",
    "tests.support.lifecycle_fixtures",
    "tests.support.lifecycle_platform",
    "tests.support.local_lake",
    "tests.support.schemas",
    "tests.support.scoring_fixtures",
    "tests.support.secured.fixtures",
    "tests.support.spark",
    "tests.support.training_fixtures",
    "tests.support.iceberg_rest.fixtures",  # after those it uses
]

# How long an example takes says how busy the machine is. Examples may share a test's servers: each uses ids of its own.
settings.register_profile(
    "servers", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("many", parent=settings.get_profile("servers"))
settings.load_profile("servers")

_END_S = 300

UniqueName = Callable[[str], str]
MakeTopics = Callable[..., dict[str, str]]


def pytest_configure(config: pytest.Config) -> None:
    """Before any process of the run is started, until all have ended."""
    place = ExitStack()
    place.enter_context(files_in_memory(_keep_servers()))
    config.add_cleanup(place.close)


def pytest_collection_finish() -> None:
    """Two thousand tests and all that they import would be walked through by each of the collector's full runs."""
    freeze_heap()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of the run that does not end prints what its threads do, and is ended."""
    faulthandler.dump_traceback_later(_END_S, file=session.config.stash[fault_handler_stderr_fd_key], exit=True)


def pytest_unconfigure() -> None:
    """DuckDB prints a hundred lines about what is left of it when the interpreter ends: frozen modules would be."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def unique_name() -> UniqueName:
    """Make names that nothing else on the servers has: `unique_name("orders")` -> `orders-1f0c2d3a-7`."""
    run = uuid.uuid4().hex[:8]
    numbers = itertools.count(1)
    return lambda prefix: f"{prefix}-{run}-{next(numbers)}"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The running servers of the test stack. Tests must not stop them: fault tests bring up a stack of their own."""
    test_stack = Stack("test")
    home: Path = test_stack.folder.parent
    with shared_stack(test_stack, home / "test.in-use", _keep_servers(), wipe_after=in_memory(home)) as running:
        yield running


@pytest.fixture(scope="session")
def mlflow_stack(stack: Stack) -> Stack:
    """The test stack with MLflow, which starts when the first test asks for it. Names keep tests apart."""
    stack.start(MLFLOW)
    return stack


def _keep_servers() -> bool:
    return process_environment().get("GOURMETGRAM_KEEP_TEST_STACK") == "1"


@pytest.fixture(scope="module")
def database_url(stack: Stack, unique_name: UniqueName) -> Iterator[str]:
    """libpq URL of a database with the platform's schema and no rows, for this test module."""
    name = unique_name("test")
    yield create_database(stack, name)
    drop_database(stack, name)


@pytest.fixture(scope="session")
def kafka_bootstrap(stack: Stack) -> str:
    """Bootstrap servers of the broker."""
    return stack.environment()["KAFKA_BOOTSTRAP_SERVERS"]


@pytest.fixture(scope="session")
def make_topics(kafka_bootstrap: str, unique_name: UniqueName) -> MakeTopics:
    """Create topics for the variables named: `make_topics("KAFKA_TOPIC_VIEWS")` returns it with its topic."""

    def make(*variables: str) -> dict[str, str]:
        topics = {variable: unique_name(variable.removeprefix("KAFKA_TOPIC_").lower()) for variable in variables}
        ensure_topics(KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap), topics.values())
        return topics

    return make


@pytest.fixture(scope="module")
def kafka_environment(kafka_bootstrap: str, make_topics: MakeTopics) -> dict[str, str]:
    """Variables of `KafkaSettings` with six fresh topics for this test module."""
    topics = make_topics(*EVENT_TOPICS, *OTHER_TOPICS)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
        "KAFKA_TOPICS": ",".join(topics[variable] for variable in EVENT_TOPICS),
        **topics,
    }


@pytest.fixture(scope="module")
def redis_url(stack: Stack) -> str:
    """URL of an empty Redis database for this test module."""
    variables = stack.environment()
    server = f"redis://{variables['REDIS_HOST']}:{variables['REDIS_PORT']}"
    with redis.Redis.from_url(f"{server}/0") as counter:
        # Database 0 holds the counter; the others go round.
        number = 1 + int(counter.incr("tests:databases")) % 1000
    with redis.Redis.from_url(f"{server}/{number}") as fresh:
        fresh.flushdb()
    return f"{server}/{number}"


@pytest.fixture(scope="module")
def redis_environment(redis_url: str) -> dict[str, str]:
    """Variables of `RedisSettings` for the same database."""
    address, _, number = redis_url.removeprefix("redis://").partition("/")
    host, _, port = address.partition(":")
    return {"REDIS_HOST": host, "REDIS_PORT": port, "REDIS_DB": number}


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of this test module's Redis database; answers are text."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture(scope="module")
def s3_environment(stack: Stack, unique_name: UniqueName) -> dict[str, str]:
    """Variables of `ObjectStoreSettings` with an empty bucket for this test module."""
    variables = {name: value for name, value in stack.environment().items() if name.startswith(("AWS_", "S3_"))}
    bucket = unique_name("images")
    client = s3.connect(ObjectStoreSettings.load(variables), s3.JOB)
    client.create_bucket(Bucket=bucket)
    client.close()
    return {**variables, "S3_BUCKET_NAME": bucket}
