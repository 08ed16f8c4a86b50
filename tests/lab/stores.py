"""The lab's stores through their published ports, as a student's own tools reach them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import boto3
import psycopg2
import redis
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from gourmetgram.errors import PlatformError
from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings, KafkaSettings
from gourmetgram_tools.inspection import kafka_reading
from tests.lab.expectations import NotSeenError, expect
from tests.lab.lab import Lab

TABLES = ("users", "images", "comments", "flags", "moderation")
EVENT_TOPICS = ("gourmetgram.uploads", "gourmetgram.views", "gourmetgram.comments", "gourmetgram.flags")
REQUESTS = "gourmetgram.moderation_requests"
TOPICS = (*EVENT_TOPICS, REQUESTS, "gourmetgram.dead_letter")
_KAFKA = KafkaSettings(kafka_bootstrap_servers="localhost:19092")
_S3 = "http://127.0.0.1:9000"


def sql(
    lab: Lab, query: str, parameters: Sequence[object] = (), database: str = "gourmetgram"
) -> list[tuple[Any, ...]]:
    """Rows of a query.

    Raises:
        NotSeenError: PostgreSQL refuses the query or does not answer.
    """
    login = (lab.settings.postgres_user, lab.settings.postgres_password)
    return sql_as(*login, query, parameters, database)


def sql_as(
    user: str, password: str, query: str, parameters: Sequence[object] = (), database: str = "gourmetgram"
) -> list[tuple[Any, ...]]:
    """Rows of a query under another login; as `sql`."""
    address = f"host=127.0.0.1 dbname={database} connect_timeout=5"
    try:
        with closing(psycopg2.connect(address, user=user, password=password)) as connection:
            cursor = connection.cursor()
            cursor.execute(query, parameters)
            return list(cursor.fetchall())
    except psycopg2.Error as error:
        raise NotSeenError(f"PostgreSQL: {str(error).strip()}") from error


def counts(lab: Lab) -> dict[str, int]:
    """Rows of each table, and the sum of `images.views` as `views`."""
    parts = [*(f"(SELECT count(*) FROM {table})" for table in TABLES), "(SELECT coalesce(sum(views), 0) FROM images)"]
    row = sql(lab, f"SELECT {', '.join(parts)}")[0]
    return dict(zip((*TABLES, "views"), map(int, row), strict=True))


def in_outbox(lab: Lab, at_most: int) -> str:
    """Raise NotSeenError while more events than `at_most` are pending in the outbox."""
    pending = int(sql(lab, "SELECT count(*) FROM event_outbox WHERE published_at IS NULL")[0][0])
    expect(pending <= at_most, f"{pending} events are pending in the outbox")
    return "all events published"


def s3(lab: Lab) -> Any:
    """Client of the object store."""
    return boto3.client(
        "s3",
        endpoint_url=_S3,
        aws_access_key_id=lab.settings.minio_root_user,
        aws_secret_access_key=lab.settings.minio_root_password,
        region_name="us-east-1",
    )


def objects(lab: Lab, bucket: str, prefix: str = "") -> list[str]:
    """Keys of a bucket (the first thousand below a prefix)."""
    return [item["Key"] for item in s3(lab).list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]


def redis_client() -> Any:
    """Client of Redis."""
    return redis.Redis(host="127.0.0.1", port=6379, decode_responses=True, socket_timeout=5)


def topics() -> dict[str, int]:
    """Partitions of each topic."""
    with kafka_reading.reader(_KAFKA) as consumer:
        return {name: len(topic.partitions) for name, topic in consumer.list_topics(timeout=10).topics.items()}


def messages(topic: str) -> list[tuple[str, dict[str, Any]]]:
    """Key and content of every message of a topic."""
    with kafka_reading.reader(_KAFKA) as consumer:
        within = held_ranges(consumer, [topic])
        return [
            ((keyed.key or b"").decode(), json.loads(keyed.record.value or b"null"))
            for keyed in kafka_reading.read(consumer, within)
        ]


def iceberg_variables(lab: Lab) -> dict[str, str]:
    """PyIceberg's variables of the lab, with the addresses of this machine."""
    settings, prefix = lab.settings, "PYICEBERG_CATALOG__GOURMETGRAM__"
    login = f"{settings.postgres_user}:{settings.postgres_password}"
    return {
        f"{prefix}TYPE": "sql",
        f"{prefix}URI": f"postgresql+psycopg2://{login}@localhost:5432/iceberg_catalog",
        f"{prefix}S3__ENDPOINT": _S3,
        f"{prefix}S3__ACCESS_KEY_ID": settings.minio_root_user,
        f"{prefix}S3__SECRET_ACCESS_KEY": settings.minio_root_password,
        f"{prefix}WAREHOUSE": "s3://gourmetgram-datalake/warehouse",
    }


@contextmanager
def catalog(lab: Lab) -> Iterator[Catalog]:
    """Catalog `gourmetgram`.

    Raises:
        NotSeenError: its database does not answer, or a table is missing.
    """
    try:
        with open_catalog(IcebergSettings.load(iceberg_variables(lab))) as found:
            yield found
    except (PlatformError, NoSuchTableError) as error:
        raise NotSeenError(f"Iceberg: {error}") from error


def table_rows(lab: Lab, table: str) -> int:
    """Number of rows of an Iceberg table; errors as of `catalog`."""
    with catalog(lab) as found:
        return found.load_table(table).scan().count()
