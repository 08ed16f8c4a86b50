"""Fixtures of the inspection tests: a small platform on the real servers, each test with stores of its own.

They are imported by the modules that use them, so their functions are not called like the fixtures.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import redis as redis_library
from sqlalchemy import Engine, create_engine

from gourmetgram.clients import s3
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import KafkaSettings, ObjectStoreSettings
from gourmetgram.topics import ensure_topics
from gourmetgram.training_data.extract import extract
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.load import load
from gourmetgram.training_data.transform import transform
from gourmetgram_tools.inspection.audit import load_stores
from gourmetgram_tools.inspection.lakehouse import LakeReading
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.quiescence import look
from gourmetgram_tools.inspection.tables import StoreTables, open_tables
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.support.aggregate_once import aggregate
from tests.support.databases import create_database, drop_database
from tests.support.small_platform import SmallPlatform, lively_image

_TOPICS = {
    "KAFKA_TOPIC_UPLOADS": "uploads",
    "KAFKA_TOPIC_VIEWS": "views",
    "KAFKA_TOPIC_COMMENTS": "comments",
    "KAFKA_TOPIC_FLAGS": "flags",
    "MODERATION_TOPIC": "moderation_requests",
    "DEAD_LETTER_TOPIC": "dead_letter",
}


@dataclass
class Scene:
    """A small platform with one lively image."""

    small: SmallPlatform
    image_id: str

    @property
    def platform(self) -> Platform:
        return self.small.platform

    @property
    def engine(self) -> Engine:
        return self.small.engine


def aggregate_scene(scene: Scene) -> None:
    """All tasks of redpanda_event_aggregation that write tables."""
    platform = scene.platform
    aggregate(Sources(platform.iceberg, platform.kafka, platform.postgres))


def train_scene(scene: Scene) -> None:
    """The tasks of moderation_training."""
    lake = Lake(scene.platform.iceberg)
    extract(scene.platform.postgres.database_url, lake)
    with open_catalog(scene.platform.iceberg) as catalog:
        transform(lake, catalog)
        load(lake, catalog)


def _bucket(environment: dict[str, str], name: str) -> None:
    client = s3.connect(ObjectStoreSettings.load(environment), s3.JOB)
    client.create_bucket(Bucket=name)
    client.close()


@contextmanager
def new_small_platform(stack: Stack, unique_name: Callable[[str], str]) -> Iterator[SmallPlatform]:
    """A platform with empty stores of its own."""
    name = unique_name("inspection")
    environment = stack.environment()
    environment |= {variable: f"{name}.{topic}" for variable, topic in _TOPICS.items()}
    url = create_database(stack, name)
    environment |= {
        "DATABASE_URL": url,
        "S3_BUCKET_NAME": name,
        "MODEL_PREFIX": f"{name}/models/",
        "MLFLOW_TRACKING_URI": "http://localhost:9",
        "PYICEBERG_CATALOG__GOURMETGRAM__URI": url.replace("postgresql://", "postgresql+psycopg2://"),
        "PYICEBERG_CATALOG__GOURMETGRAM__WAREHOUSE": f"s3://gourmetgram-datalake/{name}/warehouse",
    }
    with redis_library.Redis(host=environment["REDIS_HOST"], port=int(environment["REDIS_PORT"])) as counter:
        environment["REDIS_DB"] = str(1 + int(counter.incr("tests:databases")) % 1000)
    _bucket(environment, name)
    ensure_topics(KafkaSettings.load(environment))
    groups = [environment | {"KAFKA_CONSUMER_GROUP": f"{name}-{group}"} for group in ("consumer", "scorer")]
    platform = Platform.from_environment(environment, *groups)
    engine = create_engine(platform.postgres.url("psycopg2"))
    client = redis_library.Redis(
        host=platform.redis.redis_host,
        port=platform.redis.redis_port,
        db=platform.redis.redis_db,
        decode_responses=True,
    )
    client.flushdb()
    yield SmallPlatform(platform, engine, client)
    client.flushdb()
    client.close()
    engine.dispose()
    drop_database(stack, name)


@pytest.fixture(name="small_platform")
def small_platform_fixture(stack: Stack, unique_name: UniqueName) -> Iterator[SmallPlatform]:
    with new_small_platform(stack, unique_name) as small:
        yield small


@pytest.fixture(name="scene")
def scene_fixture(small_platform: SmallPlatform) -> Scene:
    """A platform whose stores agree."""
    return new_scene(small_platform)


def new_scene(small: SmallPlatform) -> Scene:
    """Fill an empty platform with stores that agree."""
    image_id = lively_image(small)
    small.settle()
    return Scene(small, image_id)


@contextmanager
def loaded(scene: Scene, strict: bool = False) -> Iterator[tuple[StoreTables, LakeReading]]:
    """The tables that the audit makes of the stores as they are now."""
    ends = look(scene.platform, scene.engine).ends
    with open_tables() as tables:
        yield tables, load_stores(tables, scene.platform, scene.engine, ends, strict)
