"""The lab's stores through their published ports, as a student's own tools reach them."""

import json
from collections.abc import Sequence
from typing import Any

import boto3
import psycopg2
import redis

from gourmetgram.errors import PlatformError
from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.settings import KafkaSettings
from gourmetgram_tools.inspection import kafka_reading
from rehearsal.errors import NotSeenError
from rehearsal.lab import Lab

TABLES = ("users", "images", "comments", "flags", "moderation")
EVENT_TOPICS = ("gourmetgram.uploads", "gourmetgram.views", "gourmetgram.comments", "gourmetgram.flags")
REQUESTS = "gourmetgram.moderation_requests"
TOPICS = (*EVENT_TOPICS, REQUESTS, "gourmetgram.dead_letter")
_KAFKA = "localhost:19092"
_S3 = "http://127.0.0.1:9000"


def sql(
    lab: Lab, query: str, parameters: Sequence[object] = (), database: str = "gourmetgram"
) -> list[tuple[Any, ...]]:
    """Rows of a query.

    Raises:
        NotSeenError: PostgreSQL refuses it or is away.
    """
    try:
        connection = psycopg2.connect(
            host="127.0.0.1",
            dbname=database,
            user=lab.variable("POSTGRES_USER"),
            password=lab.variable("POSTGRES_PASSWORD"),
            connect_timeout=5,
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters)
                return list(cursor.fetchall())
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise NotSeenError(f"PostgreSQL: {str(error).strip()}") from error


def counts(lab: Lab) -> dict[str, int]:
    """Rows of each table, and the sum of `images.views` as `views`."""
    row = sql(
        lab,
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM images), (SELECT count(*) FROM comments), "
        "(SELECT count(*) FROM flags), (SELECT count(*) FROM moderation), "
        "(SELECT coalesce(sum(views), 0) FROM images)",
    )[0]
    return dict(zip((*TABLES, "views"), map(int, row), strict=True))


def s3(lab: Lab) -> Any:  # noqa: ANN401 - boto3 makes its clients' classes at run time
    """A client of the object store."""
    return boto3.client(
        "s3",
        endpoint_url=_S3,
        aws_access_key_id=lab.variable("MINIO_ROOT_USER"),
        aws_secret_access_key=lab.variable("MINIO_ROOT_PASSWORD"),
        region_name="us-east-1",
    )


def objects(lab: Lab, bucket: str, prefix: str = "") -> list[str]:
    """Keys of a bucket (the first thousand below a prefix)."""
    return [item["Key"] for item in s3(lab).list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]


def redis_client() -> Any:  # noqa: ANN401 - its methods' types cover asynchronous clients too
    """A client of Redis."""
    return redis.Redis(host="127.0.0.1", port=6379, decode_responses=True, socket_timeout=5)


def topics() -> dict[str, int]:
    """Partitions of each topic.

    Raises:
        NotSeenError: the broker is away.
    """
    try:
        with kafka_reading.reader(_kafka()) as consumer:
            known = consumer.list_topics(timeout=10).topics
    except Exception as error:
        raise NotSeenError(f"Kafka: {error}") from error
    return {name: len(topic.partitions) for name, topic in known.items()}


def messages(topic: str) -> list[tuple[str, dict[str, Any]]]:
    """Key and content of every message of a topic.

    Raises:
        NotSeenError: the broker is away.
    """
    try:
        with kafka_reading.reader(_kafka()) as consumer:
            within = held_ranges(consumer, [topic])
            return [
                ((keyed.key or b"").decode(), json.loads(keyed.record.value or b"null"))
                for keyed in kafka_reading.read(consumer, within)
            ]
    except PlatformError as error:
        raise NotSeenError(f"Kafka: {error}") from error


def _kafka() -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers=_KAFKA)
