"""Drain rates: how fast one stream consumer and one scorer work off what waits for them."""

import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

import orjson
import psycopg2
from confluent_kafka import Consumer, TopicPartition

from bench.limits import kafka_consume_and_decode, redis_script
from bench.platform import bench_stack
from bench.report import Row
from gourmetgram.events import ModerationRequest
from gourmetgram.kafka.clients import client_config, create_producer
from gourmetgram.kafka.publish import OutgoingMessage, Publisher
from gourmetgram.settings import KafkaSettings, PostgresSettings, RedisSettings
from tests.support.models import Bucket, artifacts

DEADLINE_S = 300.0
POLL_S = 0.02


class DrainTimer:
    """Rate at which a consumer group's committed offsets grow, from its first commit to its last."""

    def __init__(self, settings: KafkaSettings, group: str, topics: list[str]) -> None:
        self._consumer = Consumer({**client_config(settings, "bench"), "group.id": group})
        partitions = [(topic, number) for topic in topics for number in range(4)]
        self._partitions = [TopicPartition(topic, number) for topic, number in partitions]
        self._ends = {
            (topic, number): self._consumer.get_watermark_offsets(TopicPartition(topic, number))[1]
            for topic, number in partitions
        }
        self.base = self._committed()

    def _committed(self) -> int:
        return sum(max(0, answer.offset) for answer in self._consumer.committed(self._partitions, timeout=10))

    def wait(self) -> float:
        """Return records per second once everything is committed.

        Raises:
            TimeoutError: the group did not reach the ends in time.
        """
        total = sum(self._ends.values())
        deadline = time.perf_counter() + DEADLINE_S
        first: tuple[float, int] | None = None
        while time.perf_counter() < deadline:
            done, now = self._committed(), time.perf_counter()
            if first is None and done > self.base:
                first = (now, done)
            if done >= total and first is not None:
                # Or its thread would go on looking for a broker that is stopped soon.
                self._consumer.close()
                return (done - first[1]) / (now - first[0])
            time.sleep(POLL_S)
        raise TimeoutError(f"the group did not work off {total} records in {DEADLINE_S:g} s")


def _view(image_id: str, moment: str) -> bytes:
    return orjson.dumps(
        {
            "event_type": "view",
            "event_id": str(uuid.uuid4()),
            "image_id": image_id,
            "viewed_at": moment,
            "actor_eligible": True,
        }
    )


def _publish(settings: KafkaSettings, messages: Iterable[OutgoingMessage]) -> None:
    config = {"linger.ms": 20, "queue.buffering.max.messages": 500_000}
    outcome = Publisher(lambda: create_producer(settings, "bench", **config)).publish(messages, timeout_s=240)
    assert not outcome.unconfirmed, outcome.failures


def publish_views(settings: KafkaSettings, image_ids: list[str], events: int) -> None:
    """Publish view events, the images in turn."""
    moment = datetime.now(UTC).isoformat()
    _publish(
        settings,
        (
            OutgoingMessage(settings.kafka_topic_views, image_id, _view(image_id, moment))
            for image_id in (image_ids[number % len(image_ids)] for number in range(events))
        ),
    )


def consumer_rows(events: int) -> list[Row]:
    """Drain `events` views of one hot image, then as many of 1,000 images, with one consumer process."""
    rows = []
    cases = {"one hot image": 1, "1,000 images": 1_000}
    with bench_stack([]) as stack:
        kafka = KafkaSettings.load(stack.environment())
        limit = redis_script(RedisSettings.load(stack.environment()), events)
        for name, images in cases.items():
            publish_views(kafka, [str(uuid.uuid4()) for _ in range(images)], events)
            timer = DrainTimer(kafka, "gourmetgram-stream-consumer", list(kafka.event_topics))
            stack.start("stream_consumer")
            rate = timer.wait()
            stack.stop("stream_consumer")
            rows.append(
                Row(
                    f"stream consumer, {events:,} views of {name}, one process",
                    f"{rate:,.0f} events/s",
                    f"{limit:,.0f} members/s (bare Redis script)",
                    f"{rate / limit:.0%}",
                    ">= 40,000 events/s",
                )
            )
        decode = kafka_consume_and_decode(kafka, kafka.kafka_topic_views, events)
        rows.append(Row("bare Kafka consume and parse", f"{decode:,.0f} events/s"))
    return rows


def _insert_images(settings: PostgresSettings, images: int) -> list[str]:
    """Images of one user for each four."""
    with psycopg2.connect(settings.database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "WITH people AS ("
            "  INSERT INTO users (username) SELECT 'bench-' || n FROM generate_series(1, %s) n RETURNING id"
            ") INSERT INTO images (user_id, s3_url, caption, category) "
            "SELECT id, 'http://bench/' || n, 'A caption', 'Bread' FROM people, generate_series(1, 4) n RETURNING id",
            (images // 4,),
        )
        return [str(row[0]) for row in cursor.fetchall()]


def publish_requests(settings: KafkaSettings, image_ids: list[str], requests: int) -> None:
    """Publish moderation requests with full contexts, the images in turn."""
    counts = {"views_5min": 100, "views_1hr": 100, "comments_1min": 0, "comments_5min": 0, "comments_1hr": 0}
    context = {**counts, "flags_5min": 0, "flags_1hr": 0, "read_to": {}}
    now_us = time.time_ns() // 1000
    _publish(
        settings,
        (
            OutgoingMessage(
                settings.moderation_topic,
                image_id,
                ModerationRequest(str(uuid.uuid4()), image_id, "viral", now_us, context).to_json(),
            )
            for image_id in (image_ids[number % len(image_ids)] for number in range(requests))
        ),
    )


def scorer_rows(requests: int) -> list[Row]:
    """Drain `requests` moderation requests of 1,000 images with one scorer process, by the rules and by a model."""
    rows = []
    targets = {"heuristic": ("rules", ">= 5,000 decisions/s"), "model": ("model", ">= 4,000 decisions/s")}
    with bench_stack([]) as stack:
        environment = stack.environment()
        kafka = KafkaSettings.load(environment)
        image_ids = _insert_images(PostgresSettings.load(environment), 1_000)
        Bucket({**environment, "S3_BUCKET_NAME": "gourmetgram-datalake"}).put(artifacts())
        for mode, (name, target) in targets.items():
            stack.override("INFERENCE_MODE", mode)
            publish_requests(kafka, image_ids, requests)
            timer = DrainTimer(kafka, "gourmetgram-moderation", [kafka.moderation_topic])
            stack.start("risk_scoring_service")
            rate = timer.wait()
            stack.stop("risk_scoring_service")
            work = f"scorer, {requests:,} requests, {name}, one process"
            rows.append(Row(work, f"{rate:,.0f} decisions/s", target=target))
    return rows
