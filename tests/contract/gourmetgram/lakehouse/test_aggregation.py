"""The aggregation on both engines: one table, whichever engine runs."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.lakehouse.progress import EventsProgress, events_progress
from gourmetgram.lakehouse.schemas import ALL_TABLES, EVENTS
from gourmetgram.settings import KafkaSettings, OfflineSettings
from gourmetgram.topics import ensure_topics
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.secured.certificates import Certificates
from tests.support.secured.kafka import SecuredKafka

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

DUCKDB = OfflineSettings()


def publish_hostile(lakehouse: LakehousePlatform) -> None:
    """Usual events of several days, repeated ones, odd ones that count, and malformed ones."""
    lakehouse.publish_many(40)
    repeated = lakehouse.make("flag", at=lakehouse.now - timedelta(days=3), actor_eligible=False)
    lakehouse.publish(repeated, lakehouse.make("comment", content="naïve 🍜\u2028日本語"), repeated)
    odd = {"event_type": "view", "image_id": str(uuid.uuid4()).upper(), "user_id": "sim-user-7", "timestamp": 1.75e9}
    future = lakehouse.make("view", at=datetime.now(UTC) + timedelta(minutes=9))
    for value in (json.dumps(odd).encode(), None, b"", b"\xff\xfe", b"[]", b"{}", json.dumps(future).encode()):
        lakehouse.publish_raw("view", value)
    lakehouse.publish_raw("flag", json.dumps({"event_type": "flag", "image_id": str(uuid.uuid4())}).encode(), key="")


def content(lakehouse: LakehousePlatform) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, without the times of the runs."""
    with lakehouse.catalog() as catalog:
        tables = {name: catalog.load_table(name).scan().to_arrow() for name in ALL_TABLES}
    return {
        name: sorted(
            table.drop_columns(
                [each for each in ("ingested_at", "processed_at") if each in table.column_names]
            ).to_pylist(),
            key=lambda row: json.dumps(row, default=str),
        )
        for name, table in tables.items()
    }


def progress(lakehouse: LakehousePlatform) -> EventsProgress:
    with lakehouse.catalog() as catalog:
        found = events_progress(catalog.load_table(EVENTS))
    assert found is not None
    return found


def start_over(lakehouse: LakehousePlatform) -> None:
    with lakehouse.catalog() as catalog:
        for name in ALL_TABLES:
            catalog.drop_table(name)


def test_engines_in_turn_make_the_rows_and_windows_of_one_engine(
    lakehouse: LakehousePlatform, spark: OfflineSettings
) -> None:
    skipped = []
    for engine in (spark, DUCKDB, spark):
        publish_hostile(lakehouse)
        lakehouse.engine = engine
        skipped.append(lakehouse.run().skipped)
    assert skipped == [skipped[0]] * 3
    assert skipped[0]["not JSON"] == 2
    in_turn, known = content(lakehouse), progress(lakehouse)
    start_over(lakehouse)
    lakehouse.engine = DUCKDB
    assert lakehouse.run().skipped == {reason: 3 * count for reason, count in skipped[0].items()}
    assert content(lakehouse) == in_turn
    assert all(in_turn.values())
    # The next run of either engine compares these before it reads on.
    assert progress(lakehouse).offsets == known.offsets
    assert progress(lakehouse).last_records == known.last_records


def test_records_that_are_lost_after_the_freeze_are_refused(
    lakehouse: LakehousePlatform, spark: OfflineSettings
) -> None:
    image = str(uuid.uuid4())
    lakehouse.publish(*(lakehouse.make("view", image) for _ in range(5)))
    lakehouse.aggregate()
    number = next(n for n, end in lakehouse.end_offsets()[lakehouse.topic("view")].items() if end)

    def lose(step: str) -> None:
        if step == "session opened":
            lakehouse.delete_records("view", {number: 8})

    lakehouse.engine = spark
    lakehouse.publish(*(lakehouse.make("view", image) for _ in range(5)))
    before = lakehouse.snapshot_ids()
    with pytest.raises(TransientError, match=r"Spark server .* gave up"):
        lakehouse.aggregate(lose)
    assert lakehouse.snapshot_ids() == before
    with pytest.raises(PermanentError, match="gone from the broker"):
        lakehouse.aggregate()


def test_executors_log_in_at_a_secured_broker(
    lakehouse: LakehousePlatform, spark: OfflineSettings, secured_kafka: SecuredKafka, certificates: Certificates
) -> None:
    topics = {
        name.upper(): value
        for name, value in lakehouse.sources.kafka.model_dump().items()
        if name.startswith("kafka_topic_")
    }
    image = str(uuid.uuid4())  # one partition, which both runs read
    for records, mechanism in enumerate(("PLAIN", "SCRAM-SHA-512"), start=1):
        kafka = KafkaSettings.load({**secured_kafka.environment(certificates.authority, mechanism), **topics})
        ensure_topics(kafka, kafka.event_topics)
        secured = LakehousePlatform(lakehouse.sources._replace(kafka=kafka))
        secured.engine = spark
        secured.publish(*(secured.make("view", image) for _ in range(records)))
        assert secured.aggregate().records == records
