"""Topics, a database and a warehouse of a test's own, and what the lakehouse must hold after any number of runs."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyiceberg.catalog import Catalog

from gourmetgram.errors import TransientError
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.publish import OutgoingMessage
from gourmetgram.lakehouse.aggregation import AggregationResult, Sources, aggregate_events
from gourmetgram.lakehouse.audit import event_counts, window_sums
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.checkpoint import checkpoint_document
from gourmetgram.lakehouse.progress import events_progress
from gourmetgram.lakehouse.schemas import ALL_TABLES, EVENTS, WINDOW_TABLES, WINDOWED_KINDS
from gourmetgram.lakehouse.windows import WindowsResult, write_windows
from gourmetgram.settings import IcebergSettings, KafkaSettings, OfflineSettings, PostgresSettings, process_environment
from gourmetgram.topics import PARTITIONS, ensure_topics
from gourmetgram_tools.local.stack import Stack
from tests.support.databases import create_database, drop_database, owner_url, role_url
from tests.support.object_logins import as_object_user
from tests.support.publishing import publish_all
from tests.support.steps import Step, watched_steps
from tests.support.topic_variables import EVENT_TOPICS
from tests.support.waiting import wait_until

WINDOW = timedelta(minutes=5)
TIME_FIELD = {"view": "viewed_at"}


class Killed(BaseException):
    """Ends a run like a signal: no `except Exception` stops it."""


class KillAt:
    """A step hook that ends the run at its n-th step, counted from 0."""

    def __init__(self, step: int) -> None:
        self.remaining = step
        self.name: str | None = None

    def __call__(self, name: str) -> None:
        if self.remaining == 0:
            self.name = name
            raise Killed(name)
        self.remaining -= 1


def kill_after(step: str) -> Step:
    """A step hook that ends the run at the first step of this name."""

    def hook(name: str) -> None:
        if name == step:
            raise Killed(name)

    return hook


class LakehousePlatform:
    """Publishes events as the API would, runs the aggregation's tasks, and knows what must come out.

    Attributes:
        engine: the engine of the tasks.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.engine = OfflineSettings()
        self.producer = create_producer(sources.kafka, "lakehouse-test")
        self.records: Counter[str] = Counter()
        self.events: dict[str, dict[str, Any]] = {}
        self.now = datetime.now(UTC).replace(microsecond=125_000)

    def environment(self) -> dict[str, str]:
        """The variables with which another process finds the same servers, topics and tables."""
        settings = (self.sources.iceberg, self.sources.kafka, self.sources.postgres, self.engine)
        own = {name.upper(): str(value) for part in settings for name, value in part.model_dump().items()}
        return process_environment() | own

    # --- events ------------------------------------------------------------------------------------------------------

    def topic(self, kind: str) -> str:
        kafka = self.sources.kafka
        return {
            "view": kafka.kafka_topic_views,
            "comment": kafka.kafka_topic_comments,
            "flag": kafka.kafka_topic_flags,
            "upload": kafka.kafka_topic_uploads,
        }[kind]

    def make(self, kind: str, image_id: str | None = None, at: datetime | None = None, **fields: Any) -> dict[str, Any]:
        """A message as api_v2 writes it; the event time is 10 minutes ago unless given."""
        event = {
            "event_type": kind,
            "event_id": str(uuid.uuid4()),
            "image_id": image_id or str(uuid.uuid4()),
            TIME_FIELD.get(kind, "created_at"): (at or self.now - timedelta(minutes=10)).isoformat(),
            "actor_eligible": True,
        }
        if kind != "view":
            event["user_id"] = str(uuid.uuid4())
        return event | fields

    def publish(self, *events: dict[str, Any]) -> None:
        """Send valid events, and expect them in the tables from now on."""
        publish_all(
            self.producer,
            [
                OutgoingMessage(self.topic(event["event_type"]), event["image_id"], json.dumps(event).encode())
                for event in events
            ],
        )
        for event in events:
            self.records[event["event_type"]] += 1
            self.events[event["event_id"]] = event

    def publish_many(self, count: int, kind: str = "view", images: int = 5) -> None:
        """Send events of a few images, spread over the last two hours."""
        ids = [str(uuid.UUID(int=number, version=4)) for number in range(images)]
        self.publish(
            *(
                self.make(kind, ids[number % images], self.now - timedelta(seconds=7 * (number % 1000)))
                for number in range(count)
            )
        )

    def publish_raw(self, kind: str, value: bytes | None, key: str = "by hand") -> None:
        """Send any bytes to a topic; nothing is expected of them."""
        self.producer.produce(self.topic(kind), key=key, value=value)
        assert self.producer.flush(10) == 0

    # --- tasks -------------------------------------------------------------------------------------------------------

    def aggregate(self, on_step: Step | None = None) -> AggregationResult:
        with watched_steps(on_step) if on_step else nullcontext():
            return aggregate_events(self.sources, offline_settings=self.engine)

    def write_windows(self) -> list[WindowsResult]:
        return [write_windows(self.sources.iceberg, kind, self.engine) for kind in WINDOWED_KINDS]

    def run(self) -> AggregationResult:
        """All five tasks."""
        result = self.aggregate()
        self.write_windows()
        checkpoint_document(self.sources.iceberg)
        return result

    # --- what is there -----------------------------------------------------------------------------------------------

    @contextmanager
    def catalog(self) -> Iterator[Catalog]:
        with open_catalog(self.sources.iceberg) as catalog:
            yield catalog

    def snapshot_ids(self) -> dict[str, int | None]:
        with self.catalog() as catalog:
            return {name: catalog.load_table(name).metadata.current_snapshot_id for name in ALL_TABLES}

    def end_offsets(self) -> dict[str, dict[int, int]]:
        consumer = Consumer({"bootstrap.servers": self.sources.kafka.kafka_bootstrap_servers, "group.id": "ends"})
        try:
            ends: dict[str, dict[int, int]] = {}
            for topic in self.sources.kafka.event_topics:
                partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
                ends[topic] = {p: consumer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in partitions}
            return ends
        finally:
            consumer.close()

    def admin(self) -> AdminClient:
        """Keep it while its answers are waited for."""
        return AdminClient({"bootstrap.servers": self.sources.kafka.kafka_bootstrap_servers})

    def recreate(self, topic: str, partitions: int = PARTITIONS) -> None:
        """Delete a topic with its records, and make it again: it gets another id."""
        admin = self.admin()
        admin.delete_topics([topic])[topic].result()
        wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, 20, "the topic's end")
        # The broker forgets a topic a moment after it stopped showing it.
        wait_until(lambda: self._made(topic, partitions), 20, "the topic's beginning")

    def _made(self, topic: str, partitions: int) -> bool:
        try:
            ensure_topics(self.sources.kafka, [topic], partitions)
        except TransientError:
            return False
        return True

    def delete_records(self, kind: str, before: dict[int, int]) -> None:
        """As retention does: the records of each partition before an offset."""
        admin = self.admin()
        places = [TopicPartition(self.topic(kind), partition, offset) for partition, offset in before.items()]
        for answer in admin.delete_records(places).values():
            answer.result(30)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with (
            psycopg2.connect(owner_url(self.sources.postgres.database_url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    # --- what must be there ------------------------------------------------------------------------------------------

    def expected_windows(self, kind: str) -> dict[tuple[str, datetime], tuple[int, int]]:
        """(image, window start) -> (events, eligible events), by brute force."""
        total: Counter[tuple[str, datetime]] = Counter()
        eligible: Counter[tuple[str, datetime]] = Counter()
        for event in self.events.values():
            if event["event_type"] == kind:
                at = datetime.fromisoformat(event[TIME_FIELD.get(kind, "created_at")]).astimezone(UTC)
                day = at.replace(hour=0, minute=0, second=0, microsecond=0)
                place = (event["image_id"].lower(), day + (at - day) // WINDOW * WINDOW)
                total[place] += 1
                eligible[place] += event["actor_eligible"] is not False
        return {place: (count, eligible[place]) for place, count in total.items()}

    def assert_events_exact(self) -> None:
        """Every record is a row once, and every event is counted once; the offsets are those of the broker."""
        distinct = Counter(event["event_type"] for event in self.events.values())
        with self.catalog() as catalog:
            counts = event_counts(catalog)
            table = catalog.load_table(EVENTS)
            places = table.scan(selected_fields=("topic", "partition", "offset")).to_arrow()
            progress = events_progress(table)
        assert {kind: count.records for kind, count in counts.items()} == dict(self.records)
        assert {kind: count.events for kind, count in counts.items()} == dict(distinct)
        assert places.group_by(places.column_names).aggregate([]).num_rows == places.num_rows
        assert progress is not None
        assert progress.offsets == self.end_offsets()

    def assert_exact(self) -> None:
        """The events, and windows that equal a count by hand."""
        self.assert_events_exact()
        with self.catalog() as catalog:
            sums = window_sums(catalog)
            for kind, name in WINDOW_TABLES.items():
                rows = catalog.load_table(name).scan().to_arrow().to_pylist()
                found = {
                    (row["image_id"], row["window_start"]): (row["event_count"], row["eligible_count"]) for row in rows
                }
                expected = self.expected_windows(kind)
                assert found == expected
                assert len(rows) == len(found)
                assert sums[kind].events == sum(count for count, _ in expected.values())
                assert sums[kind].eligible == sum(count for _, count in expected.values())
                assert sums[kind].repeated == 0
                assert all(row["window_end"] - row["window_start"] == WINDOW for row in rows)


@pytest.fixture
def lakehouse(
    stack: Stack, unique_name: Callable[[str], str], make_topics: Callable[..., dict[str, str]]
) -> Iterator[Any]:
    """A platform of this test alone."""
    variables = stack.environment()
    name = unique_name("lakehouse")
    database_url = create_database(stack, name)
    prefix = "PYICEBERG_CATALOG__GOURMETGRAM__"
    places = {
        f"{prefix}URI": database_url.replace("postgresql://", "postgresql+psycopg2://"),
        f"{prefix}WAREHOUSE": f"s3://gourmetgram-datalake/{name}/warehouse",
        "LAKE_RETENTION_DAYS": "36500",  # some tests have events of fixed days
    }
    iceberg = IcebergSettings.load(as_object_user({**variables, **places}, "gourmetgram_batch"))
    servers = {"KAFKA_BOOTSTRAP_SERVERS": variables["KAFKA_BOOTSTRAP_SERVERS"]}
    kafka = KafkaSettings.load({**servers, **make_topics(*EVENT_TOPICS)})
    yield LakehousePlatform(
        Sources(iceberg, kafka, PostgresSettings(database_url=role_url(database_url, "gourmetgram_batch")))
    )
    drop_database(stack, name)
