"""Training rows from a made-up month: extract, transform and load, once and with twice the input."""

import io
import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import boto3
import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray
from psycopg2 import sql
from pyiceberg.catalog import Catalog

from bench.platform import bench_stack
from bench.report import Row
from gourmetgram.features.definition import CATEGORIES
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.progress import EventsProgress
from gourmetgram.lakehouse.schemas import EVENTS, EVENTS_DEFINITION, ensure_tables
from gourmetgram.settings import IcebergSettings
from gourmetgram.training_data.extract import extract
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.load import load
from gourmetgram.training_data.table import TRAINING_TABLE
from gourmetgram.training_data.transform import transform
from gourmetgram_tools.local.stack import Stack

_DAYS = 30
_SECOND_US = 1_000_000
_KINDS = ("view", "comment", "flag")
_SHARES = (0.80, 0.15, 0.05)
_Integers = NDArray[np.int64]


def run(images: int, events: int) -> list[Row]:
    """Measure with the asked size and with twice that, each in a process, a database and a warehouse of its own."""
    with bench_stack([]) as stack:
        once, twice = (_in_new_process(stack.name, factor * images, factor * events) for factor in (1, 2))
    name = f"{images:,} images, {events:,} events"
    growth = twice["transform"].wall / once["transform"].wall
    return [
        Row(f"training transform, {name}", once["transform"].text, target="<= 10 s"),
        Row("training transform, twice the input", f"{twice['transform'].text}, {growth:.2f} x", target="<= 2.3 x"),
        Row(f"extract, {name}", once["extract"].text),
        Row("load of all rows", once["load"].text),
        Row("load of the same rows again: no commit", once["load again"].text),
    ]


class Seconds(NamedTuple):
    """How long a step took, by the clock and in processor time of this process."""

    wall: float
    cpu: float

    @property
    def text(self) -> str:
        """Both, for a table."""
        return f"{self.wall:.1f} s ({self.cpu:.1f} s of CPU)"


def _in_new_process(stack_name: str, images: int, events: int) -> "dict[str, Seconds]":
    """Measure as a task of a DAG would run: nothing is warm."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, stack_name, images, events).result()


def _measure(stack_name: str, images: int, events: int) -> dict[str, Seconds]:
    stack = Stack.load(stack_name)
    seconds: dict[str, Seconds] = {}
    with fresh_lakehouse(stack) as name, open_catalog(lakehouse_settings(stack, name)) as catalog:
        database_url, lake = stack.postgres.url(name), Lake(lakehouse_settings(stack, name))
        write_month(database_url, catalog, images, events)
        steps: dict[str, Callable[[], object]] = {
            "extract": lambda: extract(database_url, lake),
            "transform": lambda: transform(lake, catalog),
            "load": lambda: load(lake, catalog),
            "load again": lambda: load(lake, catalog),
        }
        for work, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            seconds[work] = Seconds(time.perf_counter() - wall, time.process_time() - cpu)
        rows = catalog.load_table(TRAINING_TABLE).scan().count()
        assert rows == 3 * images, f"{rows} rows instead of {3 * images}"
    return seconds


@contextmanager
def fresh_lakehouse(stack: Stack) -> Iterator[str]:
    """An application database with the schema, a catalog and a bucket, all empty; yields the database's name."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    _execute(stack, "CREATE DATABASE {} TEMPLATE gourmetgram", name)
    _execute(stack, "CREATE DATABASE {}", f"{name}_catalog")
    settings = lakehouse_settings(stack, name)
    boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=settings.s3_secret_access_key,
        region_name=settings.s3_region,
    ).create_bucket(Bucket=_bucket(name))
    yield name
    _execute(stack, "DROP DATABASE {} WITH (FORCE)", name)
    _execute(stack, "DROP DATABASE {} WITH (FORCE)", f"{name}_catalog")


def lakehouse_settings(stack: Stack, name: str) -> IcebergSettings:
    """Settings of a fresh lakehouse."""
    variables = stack.environment()
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    return IcebergSettings.load(
        {
            f"{prefix}URI": stack.postgres.url(f"{name}_catalog").replace("postgresql://", "postgresql+psycopg2://"),
            f"{prefix}S3__ENDPOINT": variables["S3_ENDPOINT_URL"],
            f"{prefix}S3__ACCESS_KEY_ID": variables["AWS_ACCESS_KEY_ID"],
            f"{prefix}S3__SECRET_ACCESS_KEY": variables["AWS_SECRET_ACCESS_KEY"],
            f"{prefix}WAREHOUSE": f"s3://{_bucket(name)}/warehouse",
        }
    )


def _bucket(name: str) -> str:
    return name.replace("_", "-")


def _execute(stack: Stack, statement: str, name: str) -> None:
    with closing(psycopg2.connect(stack.postgres.url("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))


def write_month(database_url: str, catalog: Catalog, images: int, events: int) -> None:
    """A month of uploads; events follow Zipf over images and come mostly in an image's first hours."""
    random = np.random.default_rng(42)
    start = datetime.now(UTC) - timedelta(days=_DAYS + 2)
    start_us = int(start.timestamp()) * _SECOND_US
    image_ids, user_ids = uuids(random, images), uuids(random, max(images // 20, 1))
    owner = random.integers(len(user_ids), size=images)
    uploaded = start_us + random.integers(_DAYS * 86_400 * _SECOND_US, size=images)
    weights = 1 / np.arange(1, images + 1) ** 0.7
    image = random.choice(images, size=events, p=weights / weights.sum())
    kind = random.choice(len(_KINDS), size=events, p=_SHARES)
    time_us = uploaded[image] + random.exponential(3 * 3_600 * _SECOND_US, size=events).astype(np.int64)
    actor = random.integers(len(user_ids), size=events)
    event_ids = uuids(random, events)
    _write_rows(database_url, image_ids, user_ids, owner, uploaded, start_us)
    _write_reactions(database_url, image_ids, user_ids, event_ids, kind, image, actor, time_us)
    history = _event_table(uuids(random, images), np.full(images, 3), image_ids, np.arange(images), uploaded)
    history = pa.concat_tables([history, _event_table(event_ids, kind, image_ids, image, time_us)])
    ensure_tables(catalog)
    now = datetime.now(UTC)
    progress = EventsProgress(
        offsets={}, topic_ids={}, run_id="bench", complete_through=now, ingested_at=now, last_records={}, gaps=()
    )
    catalog.load_table(EVENTS).append(history.sort_by("event_time"), snapshot_properties=progress.summary())


def uuids(random: np.random.Generator, count: int) -> pa.Array:
    """Random ids, as texts."""
    digits = np.frombuffer(random.bytes(16 * count).hex().encode(), "S1").reshape(count, 32)
    texts = np.insert(digits, (8, 12, 16, 20), b"-", axis=1)
    return pa.array(texts.view("S36").reshape(count).astype(str))


def _event_table(
    event_ids: pa.Array, kind: _Integers, image_ids: pa.Array, image: _Integers, time_us: _Integers
) -> pa.Table:
    count = len(event_ids)
    times = pa.array(time_us).cast(pa.timestamp("us", "UTC"))
    columns = {
        "event_id": event_ids,
        "event_type": pa.array([*_KINDS, "upload"]).take(pa.array(kind)),
        "image_id": image_ids.take(pa.array(image)),
        "actor_eligible": pa.repeat(True, count),
        "event_time": times,
        "record_time": times,
        "ingested_at": times,
        "topic": pa.array([f"gourmetgram.{name}s" for name in (*_KINDS, "upload")]).take(pa.array(kind)),
        "partition": pa.repeat(pa.scalar(0, pa.int32()), count),
        "offset": pa.array(np.arange(count)),
    }
    schema = EVENTS_DEFINITION.arrow_schema
    return pa.table([columns.get(name, pa.nulls(count, schema.field(name).type)) for name in schema.names], schema)


def _write_rows(
    url: str, image_ids: pa.Array, user_ids: pa.Array, owner: _Integers, uploaded: _Integers, start_us: int
) -> None:
    registered = pa.repeat(start_us, len(user_ids)).cast(pa.timestamp("us", "UTC"))
    names = pa.array([f"user-{number}" for number in range(len(user_ids))])
    copy_rows(url, "users", {"id": user_ids, "username": names, "created_at": registered})
    count = len(image_ids)
    images = {
        "id": image_ids,
        "user_id": user_ids.take(pa.array(owner)),
        "s3_url": pa.repeat("s3://bench/picture.jpg", count),
        "source": pa.repeat("synthetic", count),
        "caption": pa.repeat("A dish", count),
        "category": pa.array(CATEGORIES).take(pa.array(np.arange(count) % len(CATEGORIES))),
        "created_at": pa.array(uploaded).cast(pa.timestamp("us", "UTC")),
    }
    copy_rows(url, "images", images)


def _write_reactions(
    url: str,
    image_ids: pa.Array,
    user_ids: pa.Array,
    event_ids: pa.Array,
    kind: _Integers,
    image: _Integers,
    actor: _Integers,
    time_us: _Integers,
) -> None:
    for number, table, text in ((1, "comments", "content"), (2, "flags", "reason")):
        chosen = pa.array(np.flatnonzero(kind == number))
        columns = {
            "id": event_ids.take(chosen),
            "image_id": image_ids.take(pa.array(image).take(chosen)),
            "user_id": user_ids.take(pa.array(actor).take(chosen)),
            text: pa.repeat("text", len(chosen)),
            "created_at": pa.array(time_us).take(chosen).cast(pa.timestamp("us", "UTC")),
        }
        copy_rows(url, table, columns)


def copy_rows(url: str, table: str, columns: dict[str, pa.Array]) -> None:
    """Append rows to a table of PostgreSQL."""
    buffer = io.BytesIO()
    pa_csv.write_csv(pa.table(columns), buffer)
    buffer.seek(0)
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        # The rows fit together; looking up every foreign key would take longer than the benchmark.
        cursor.execute("SET session_replication_role = replica")
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT csv, HEADER)", buffer)
