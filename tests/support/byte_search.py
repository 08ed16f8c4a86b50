"""Search of every byte that a platform's stores give back. It uses nothing of `gourmetgram erase`."""

import base64
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition

from gourmetgram.clients import s3
from gourmetgram_tools.inspection.platform import Platform

Content = tuple[str, bytes]
"""A place in a store, and its bytes."""


def places_with(needle: str | bytes, contents: Iterable[Content]) -> list[str]:
    """Places whose bytes contain a text, in any case."""
    wanted = needle.lower() if isinstance(needle, bytes) else needle.encode().lower()
    return [place for place, content in contents if wanted in content.lower() or wanted in place.encode().lower()]


def everything(platform: Platform, redis_client: Any, redis_folder: Path | None = None) -> list[Content]:
    """Content of PostgreSQL, Redis, Kafka and the object store.

    Args:
        platform: addresses of the stores.
        redis_client: a client that returns bytes.
        redis_folder: folder of Redis's files, which are searched, too.
    """
    files = [] if redis_folder is None else [path for path in redis_folder.rglob("*") if path.is_file()]
    return [
        *_rows(platform),
        *_keys(redis_client),
        *((f"redis file {path.name}", path.read_bytes()) for path in files),
        *_records(platform),
        *_objects(platform),
    ]


def _rows(platform: Platform) -> Iterator[Content]:
    with closing(psycopg2.connect(platform.postgres.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        for (table,) in cursor.fetchall():
            out = io.StringIO()
            cursor.copy_expert(f'COPY "{table}" TO STDOUT', out)
            yield f"postgres {table}", out.getvalue().encode()


def _keys(client: Any) -> Iterator[Content]:
    for key in client.scan_iter():
        kind = client.type(key).decode()
        content = (
            client.get(key)
            if kind == "string"
            else client.hgetall(key)
            if kind == "hash"
            else client.smembers(key)
            if kind == "set"
            else client.zrange(key, 0, -1)
        )
        yield f"redis {key.decode()}", repr(content).encode()


def _records(platform: Platform) -> Iterator[Content]:
    consumer = Consumer({"bootstrap.servers": platform.kafka.kafka_bootstrap_servers, "group.id": "byte-search"})
    with closing(consumer):
        for topic in platform.kafka.all_topics:
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                consumer.assign([TopicPartition(topic, number, low)])
                for _ in range(high - low):
                    message = consumer.poll(20)
                    assert message is not None and message.error() is None
                    value = message.value() or b""
                    with suppress(ValueError, KeyError, TypeError):
                        value += base64.b64decode(json.loads(value)["value"])
                    yield f"kafka {topic}/{number}@{message.offset()}", (message.key() or b"") + b" " + value


def _objects(platform: Platform) -> Iterator[Content]:
    warehouse, _, prefix = platform.iceberg.warehouse_location.removeprefix("s3://").partition("/")
    folder = prefix.removesuffix("warehouse")
    client = s3.connect(platform.objects, s3.JOB)
    for bucket, below in ((platform.objects.s3_bucket_name, ""), (warehouse, folder)):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below):
            for item in page.get("Contents", ()):
                content: bytes = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                yield f"s3 {bucket}/{item['Key']}", content + b" " + _decoded(item["Key"], content)
    client.close()


def _decoded(key: str, content: bytes) -> bytes:
    """Columns of a Parquet file as text, or the blocks of an Avro file; empty for other files."""
    if key.endswith(".parquet"):
        return repr(pq.read_table(io.BytesIO(content)).to_pylist()).encode()
    if key.endswith(".avro"):
        return b" ".join(_inflated(block) for block in content.split(content[-16:])[1:])
    return b""


def _inflated(block: bytes) -> bytes:
    """A block after its two numbers, whose lengths vary."""
    for start in range(2, 12):
        with suppress(zlib.error):
            return zlib.decompress(block[start:], -zlib.MAX_WBITS)
    return block
