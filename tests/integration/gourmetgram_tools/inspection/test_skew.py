"""What the scorer stored equals what the training DAG would compute: real consumer, real scorer, real aggregation."""

import json
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from gourmetgram.errors import PermanentError
from gourmetgram.events import ModerationRequest
from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.publish import OutgoingMessage
from gourmetgram.settings import KafkaSettings, OfflineSettings
from gourmetgram_tools.cli import skew as skew_command
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.inspection import skew as skew_module
from gourmetgram_tools.inspection.skew import (
    IMAGE_GONE,
    NO_CONTEXT,
    NOT_AGGREGATED,
    REQUEST_GONE,
    UNKEYED_EVENTS,
    SkewResult,
    measure_skew,
)
from tests.support.consumer_platform import ConsumerPlatform
from tests.support.databases import owner_url
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.publishing import publish_all
from tests.support.scoring import People, microseconds, running_scorer
from tests.support.topic_variables import OTHER_TOPICS
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

SECONDS, MINUTES = timedelta(seconds=1), timedelta(minutes=1)


class Serving:
    """The lakehouse's topics and database, with a consumer and a scorer at work on them."""

    def __init__(self, lakehouse: LakehousePlatform, environment: dict[str, str]) -> None:
        self.lakehouse = lakehouse
        self.environment = environment
        self.people = People(environment["DATABASE_URL"])

    def skew(self, engine: OfflineSettings | None = None) -> SkewResult:
        with self.lakehouse.catalog() as catalog:
            kafka = KafkaSettings.load(self.environment)
            return measure_skew(self.lakehouse.sources.postgres, kafka, catalog, offline_settings=engine)

    def request(self, image_id: str, at: datetime, context: dict[str, Any] | None = None) -> None:
        """Ask for a score by hand."""
        request = ModerationRequest(str(uuid.uuid4()), image_id, "by hand", microseconds(at), context or {})
        producer = create_producer(KafkaSettings.load(self.environment), "tests")
        publish_all(producer, [OutgoingMessage(self.environment["MODERATION_TOPIC"], image_id, request.to_json())])

    @contextmanager
    def at_work(self, consumer: ConsumerPlatform) -> Iterator[None]:
        """Consumer and scorer run until everything that is in the topics is decided."""
        changes = {
            "VIRAL_THRESHOLD_VIEWS_5MIN": "5",
            "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "2",
            "FLAGGED_THRESHOLD_FLAGS_5MIN": "1",
            "TRIGGER_ON_UPLOAD": "true",
            "RESCORE_AT_MINUTES": "5,30",
        }
        with consumer.consumer(**changes), running_scorer(self.environment):
            yield
            consumer.wait_settled()
            wait_until(lambda: len(self.people.decisions()) == len(consumer.requests()), 30, "all decisions")


@pytest.fixture
def serving(
    lakehouse: LakehousePlatform,
    make_topics: Callable[..., dict[str, str]],
    unique_name: Callable[[str], str],
    redis_environment: dict[str, str],
) -> Serving:
    kafka, variables = lakehouse.sources.kafka, {}
    topics = {
        "KAFKA_TOPIC_UPLOADS": kafka.kafka_topic_uploads,
        "KAFKA_TOPIC_VIEWS": kafka.kafka_topic_views,
        "KAFKA_TOPIC_COMMENTS": kafka.kafka_topic_comments,
        "KAFKA_TOPIC_FLAGS": kafka.kafka_topic_flags,
    }
    variables = {
        **topics,
        "KAFKA_TOPICS": ",".join(topics.values()),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.kafka_bootstrap_servers,
        "KAFKA_CONSUMER_GROUP": unique_name("skew"),
        **make_topics(*OTHER_TOPICS),
        "DATABASE_URL": owner_url(lakehouse.sources.postgres.database_url),
        "HEALTH_HOST": "127.0.0.1",
        "HEALTH_PORT": "0",
        **redis_environment,
    }
    return Serving(lakehouse, variables)


@pytest.fixture
def consumer(serving: Serving, redis_client: redis.Redis, tmp_path: Path) -> ConsumerPlatform:
    redis_client.flushdb()
    return ConsumerPlatform(environment=serving.environment, redis=redis_client, folder=tmp_path)


def lively_half_hour(serving: Serving, images: int = 6, events: int = 400) -> list[str]:
    """Uploads up to 40 minutes ago and what people did since, late and repeated events among it."""
    dice = random.Random(11)
    now = datetime.now(UTC).replace(microsecond=500_000)
    users = [serving.people.user(created_at=now - timedelta(days=number)) for number in range(3)]
    found, messages = [], []
    for number in range(images):
        at = now - 40 * MINUTES + number * MINUTES
        category = dice.choice(["Soup", " Egg ", None])
        image = serving.people.image(users[number % 3], created_at=at, category=category, caption="yum" * number)
        found.append(image)
        messages.append((at, "upload", image, True))
    for _ in range(events):
        at = now - dice.choice([1, 40]) * MINUTES * dice.random()
        kind = dice.choice(["view"] * 7 + ["comment"] * 2 + ["flag"])
        messages.append((at, kind, dice.choice(found), dice.random() < 0.9))
    # Mostly in order of time, but a tenth comes late.
    messages.sort(key=lambda message: message[0] + (dice.random() < 0.1) * dice.random() * 10 * MINUTES)
    for at, kind, image, eligible in messages:
        event = serving.lakehouse.make(kind, image, at, actor_eligible=eligible)
        if kind == "flag":
            serving.people.flag(image_id=image, created_at=at, actor_eligible=eligible)
        serving.lakehouse.publish(event, *[event] * (dice.random() < 0.1))
    return found


def compared_in_batches_of(size: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make batches small; the list receives the number of vectors that are in memory at a time."""
    batches: list[int] = []
    compare = skew_module._compare

    def counted(twins: Any, scored: Sequence[Any], result: SkewResult) -> None:
        batches.append(len(scored))
        assert len(twins.rows) <= size
        compare(twins, scored, result)

    monkeypatch.setattr(skew_module, "BATCH_VECTORS", size)
    monkeypatch.setattr(skew_module, "_compare", counted)
    return batches


def test_every_vector_that_was_served_is_computed_again_without_a_difference(
    serving: Serving, consumer: ConsumerPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = compared_in_batches_of(5, monkeypatch)
    images = lively_half_hour(serving)
    with serving.at_work(consumer):
        pass
    # What comes after a decision, with a time before it, was not known to it.
    late = [serving.lakehouse.make("view", image, datetime.now(UTC) - 5 * MINUTES) for image in images]
    serving.lakehouse.publish(*late)
    with serving.at_work(consumer):
        pass
    serving.lakehouse.aggregate()
    result = serving.skew()
    decisions = serving.people.decisions()
    assert {str(row["target_id"]) for row in decisions} == set(images)
    assert len(decisions) >= 4 * len(images)
    assert result.to_json() | {"examples": []} == {
        "ok": True,
        "differences": 0,
        "vectors": len(decisions),
        "compared": len(decisions),
        "in_part": {},
        "skipped": {},
        "by_feature": {},
        "examples": [],
    }
    assert (max(batches), sum(batches)) == (5, len(decisions))


def test_vectors_that_cannot_be_compared_are_counted_by_reason(serving: Serving, consumer: ConsumerPlatform) -> None:
    full, partial, gone, scattered = (serving.people.image(created_at=datetime.now(UTC)) for _ in range(4))
    for image in (full, partial, scattered):
        serving.lakehouse.publish(*(serving.lakehouse.make("view", image, datetime.now(UTC)) for _ in range(5)))
    view = serving.lakehouse.make("view", scattered, datetime.now(UTC))
    for key in ("a", "b", "c", "d"):
        serving.lakehouse.publish_raw("view", json.dumps(view | {"event_id": str(uuid.uuid4())}).encode(), key)
    with serving.at_work(consumer):
        serving.request(partial, datetime.now(UTC))
        serving.request(gone, datetime.now(UTC))
    forgotten = str(uuid.uuid4())
    serving.people.insert(
        "moderation",
        inference_request_id=forgotten,
        target_type="image",
        target_id=full,
        inference_mode="heuristic",
        risk_score=0,
        features=json.dumps(dict.fromkeys(FEATURE_NAMES, 0)),
    )
    serving.lakehouse.sql("DELETE FROM images WHERE id = %s", gone)
    with pytest.raises(PermanentError, match="run redpanda_event_aggregation first"):
        serving.skew()
    serving.lakehouse.aggregate()
    result = serving.skew()
    assert result.differences == 0, result.examples
    assert result.skipped == {REQUEST_GONE: 1, IMAGE_GONE: 1}
    assert result.in_part == {NO_CONTEXT: 1, UNKEYED_EVENTS: 1}
    assert result.compared == result.vectors - 2


def test_requests_that_read_beyond_the_event_history_wait_for_it(serving: Serving, consumer: ConsumerPlatform) -> None:
    image = serving.people.image(created_at=datetime.now(UTC))
    serving.lakehouse.aggregate()
    serving.lakehouse.publish(*(serving.lakehouse.make("view", image, datetime.now(UTC)) for _ in range(5)))
    with serving.at_work(consumer):
        pass
    assert serving.skew().skipped == {NOT_AGGREGATED: 1}
    serving.lakehouse.aggregate()
    assert serving.skew().compared == 1


def test_the_command_reports_differences_by_feature_and_exits_with_1(
    serving: Serving, consumer: ConsumerPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = serving.people.image(created_at=datetime.now(UTC))
    serving.lakehouse.publish(*(serving.lakehouse.make("view", image, datetime.now(UTC)) for _ in range(5)))
    with serving.at_work(consumer):
        pass
    serving.lakehouse.aggregate()
    iceberg = {name.upper(): value for name, value in serving.lakehouse.sources.iceberg.model_dump().items()}
    monkeypatch.setattr(skew_command, "running_environment", lambda *_: {**serving.environment, **iceberg})
    agreed = CliRunner().invoke(app, ["skew"])
    assert (agreed.exit_code, "No differences" in agreed.output) == (0, True)
    change = """{"views_5min": 6, "caption_length": 3}"""
    serving.lakehouse.sql("UPDATE moderation SET features = features || %s::jsonb", change)
    differing = CliRunner().invoke(app, ["skew", "--json"])
    document = json.loads(differing.stdout)
    assert differing.exit_code == 1
    assert document["by_feature"] == {"views_5min": 1, "caption_length": 1}
    assert {(each["feature"], each["stored"], each["offline"]) for each in document["examples"]} == {
        ("views_5min", 6, 5),
        ("caption_length", 3, 0),
    }
    assert "views_5min stored 6, offline 5" in CliRunner().invoke(app, ["skew"]).output
