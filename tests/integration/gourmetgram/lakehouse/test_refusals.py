"""What the aggregation skips, what it refuses, and how far its history is complete."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
from gourmetgram.lakehouse.checkpoint import checkpoint_document
from gourmetgram.lakehouse.gaps import accept_gap
from gourmetgram.lakehouse.progress import (
    COMPLETE_THROUGH,
    OFFSETS,
    RUN_ID,
    events_progress,
    own_properties,
    summary_of,
)
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.moments import parse_utc
from gourmetgram.settings import KafkaSettings, PostgresSettings
from tests.support.databases import owner_url
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


def test_poison_messages_in_the_range_are_skipped_and_counted(lakehouse: LakehousePlatform) -> None:
    good = lakehouse.make("view")
    no_ids: list[object] = [None, 7, {}, "image-1", good["image_id"][1:]]
    poison: dict[str, list[bytes | None]] = {
        "no value": [None],
        "not JSON": [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 5000],
        "not a JSON object": [b"[]", b"7", b'"view"', b"null"],
        "unknown event_type": [b"{}", json.dumps(good | {"event_type": ["view"]}).encode()],
        "missing or invalid image_id": [json.dumps(good | {"image_id": value}).encode() for value in no_ids],
        "event time in the future": [
            json.dumps(good | {"viewed_at": (datetime.now(UTC) + timedelta(minutes=9)).isoformat()}).encode()
        ],
    }
    lakehouse.publish_many(20)
    for values in poison.values():
        for value in values:
            lakehouse.publish_raw("view", value)
    lakehouse.publish_many(20)
    result = lakehouse.run()
    assert result.skipped == {reason: len(values) for reason, values in poison.items()}
    lakehouse.assert_exact()


def test_unusual_but_valid_messages_are_stored_by_the_rules(lakehouse: LakehousePlatform) -> None:
    image, event_id, user = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    seconds = (lakehouse.now - timedelta(days=3)).timestamp()
    simulated = {"event_type": "view", "image_id": str(image).upper(), "user_id": "sim-user-7", "timestamp": seconds}
    odd = {
        "event_type": "comment",
        "event_id": str(event_id).upper(),
        "image_id": str(image),
        "user_id": str(user).upper(),
        "comment_id": 7,
        "created_at": "2026-01-02T03:04:05+02:00",
        "actor_eligible": "false",
    }
    lakehouse.publish_raw("view", json.dumps(simulated).encode())
    lakehouse.publish_raw("view", json.dumps(odd).encode())
    lakehouse.publish_raw("flag", json.dumps({"event_type": "flag", "image_id": str(image)}).encode())
    assert lakehouse.run().records_by_kind == {"view": 1, "comment": 1, "flag": 1}
    with lakehouse.catalog() as catalog:
        rows = {row["event_type"]: row for row in catalog.load_table(EVENTS).scan().to_arrow().to_pylist()}
    view, comment, flag = rows["view"], rows["comment"], rows["flag"]
    assert (view["user_id"], view["event_time"]) == ("sim-user-7", datetime.fromtimestamp(seconds, UTC))
    name = f"gourmetgram:{view['topic']}/{view['partition']}/{view['offset']}"
    assert view["event_id"] == str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    assert (comment["event_id"], comment["user_id"], comment["comment_id"]) == (str(event_id), str(user), "7")
    assert comment["event_time"] == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert comment["actor_eligible"] is True
    assert flag["event_time"] == flag["record_time"]
    assert {row["image_id"] for row in rows.values()} == {str(image)}


def test_a_recreated_topic_is_refused_with_its_offsets(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish(*(lakehouse.make("flag", str(uuid.UUID(int=1, version=4))) for _ in range(5)))
    lakehouse.run()
    before = lakehouse.snapshot_ids()
    topic = lakehouse.topic("flag")
    lakehouse.recreate(topic)
    with pytest.raises(PermanentError, match=rf"topic {topic} was deleted and created again") as refusal:
        lakehouse.aggregate()
    assert "5" in str(refusal.value)
    assert lakehouse.snapshot_ids() == before


def test_a_stored_offset_beyond_the_end_is_refused(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish(*(lakehouse.make("flag", str(uuid.UUID(int=1, version=4))) for _ in range(5)))
    lakehouse.run()
    _forget_topic_ids(lakehouse)
    topic = lakehouse.topic("flag")
    lakehouse.recreate(topic)
    with pytest.raises(PermanentError, match=rf"{topic}/\d: the stored offset 5 is beyond the topic's end 0"):
        lakehouse.aggregate()


def test_a_topic_recreated_with_fewer_partitions_is_refused(lakehouse: LakehousePlatform) -> None:
    lakehouse.run()
    _forget_topic_ids(lakehouse)
    topic = lakehouse.topic("comment")
    lakehouse.recreate(topic, partitions=2)
    with pytest.raises(PermanentError, match=rf"{topic}/2: the partition is gone"):
        lakehouse.aggregate()


def test_records_lost_to_retention_before_they_were_read_are_refused(lakehouse: LakehousePlatform) -> None:
    image = str(uuid.UUID(int=1, version=4))
    lakehouse.publish(*(lakehouse.make("view", image) for _ in range(10)))
    lakehouse.run()
    lakehouse.publish(*(lakehouse.make("view", image) for _ in range(10)))
    (partition,) = (p for p, end in lakehouse.end_offsets()[lakehouse.topic("view")].items() if end == 20)
    lakehouse.delete_records("view", {partition: 15})
    with pytest.raises(
        PermanentError, match=rf"{lakehouse.topic('view')}/{partition}: offsets \[10, 15\) were not read yet"
    ):
        lakehouse.aggregate()


def test_an_accepted_gap_is_recorded_and_the_aggregation_goes_on_behind_it(lakehouse: LakehousePlatform) -> None:
    image = str(uuid.UUID(int=1, version=4))
    lakehouse.publish(*(lakehouse.make("view", image) for _ in range(10)))
    lakehouse.run()
    topic = lakehouse.topic("view")
    (number,) = (p for p, end in lakehouse.end_offsets()[topic].items() if end == 10)
    place = Partition(topic, number)
    with pytest.raises(PermanentError, match="there is no gap to accept"):
        accept_gap(lakehouse.sources, place)
    for _ in range(5):
        lakehouse.publish_raw("view", b"gone", key=image)
    lakehouse.delete_records("view", {number: 15})
    lakehouse.publish(*(lakehouse.make("view", image) for _ in range(3)))
    with pytest.raises(PermanentError, match=rf"lake accept-gap {topic} {number}"):
        lakehouse.aggregate()
    gap, _snapshot_id = accept_gap(lakehouse.sources, place)
    assert gap[:4] == (topic, number, 10, 15)
    with pytest.raises(PermanentError, match="there is no gap to accept"):
        accept_gap(lakehouse.sources, place)
    lakehouse.run()
    lakehouse.assert_exact()
    with lakehouse.catalog() as catalog:
        progress = events_progress(catalog.load_table(EVENTS))
    assert progress is not None
    assert progress.gaps == (gap,)


def test_a_partition_that_no_run_has_read_has_no_gap(lakehouse: LakehousePlatform) -> None:
    lakehouse.run()
    with pytest.raises(PermanentError, match="no run has read it"):
        accept_gap(lakehouse.sources, Partition("another.topic", 0))


def test_records_read_before_retention_took_them_are_no_loss(lakehouse: LakehousePlatform) -> None:
    image = str(uuid.UUID(int=1, version=4))
    lakehouse.publish(*(lakehouse.make("view", image) for _ in range(10)))
    lakehouse.run()
    lakehouse.delete_records("view", lakehouse.end_offsets()[lakehouse.topic("view")])
    lakehouse.publish(lakehouse.make("view", image))
    lakehouse.run()
    lakehouse.assert_exact()


def test_a_first_run_begins_at_the_earliest_record_the_broker_has(lakehouse: LakehousePlatform) -> None:
    image = str(uuid.UUID(int=1, version=4))
    for _ in range(4):
        lakehouse.publish_raw("view", b"gone before the first run", key=image)
    (partition,) = (p for p, end in lakehouse.end_offsets()[lakehouse.topic("view")].items() if end == 4)
    lakehouse.delete_records("view", {partition: 4})
    lakehouse.publish(lakehouse.make("view", image))
    assert lakehouse.run().skipped == {}
    lakehouse.assert_exact()


def test_a_missing_topic_is_named(lakehouse: LakehousePlatform) -> None:
    kafka = lakehouse.sources.kafka.model_copy(update={"kafka_topic_flags": "no.such.topic"})
    with pytest.raises(PermanentError, match=r"topic no.such.topic does not exist"):
        aggregate_events(lakehouse.sources._replace(kafka=kafka))


def test_an_absent_broker_and_an_absent_database_are_transient(lakehouse: LakehousePlatform) -> None:
    nowhere = KafkaSettings(kafka_bootstrap_servers="localhost:1")
    with pytest.raises(TransientError, match="broker"):
        aggregate_events(lakehouse.sources._replace(kafka=nowhere))
    nobody = PostgresSettings(database_url="postgresql://user:x@127.0.0.1:1/gourmetgram")
    with pytest.raises(TransientError, match="application database"):
        aggregate_events(lakehouse.sources._replace(postgres=nobody))
    homeless = lakehouse.sources.iceberg.model_copy(
        update={"pyiceberg_catalog__gourmetgram__uri": "postgresql+psycopg2://user:x@127.0.0.1:1/nothing"}
    )
    with pytest.raises(TransientError, match="PostgreSQL is away"):
        aggregate_events(Sources(homeless, lakehouse.sources.kafka, lakehouse.sources.postgres))


def test_complete_through_is_the_freeze_time_when_nothing_waits(lakehouse: LakehousePlatform) -> None:
    before = datetime.now(UTC)
    result = lakehouse.run()
    # Other tests' databases have their own transactions: only this one's count.
    assert before <= parse_utc(result.complete_through) <= datetime.now(UTC)
    first = result.complete_through
    assert lakehouse.run().complete_through > first


def test_complete_through_waits_for_the_oldest_unpublished_event(lakehouse: LakehousePlatform) -> None:
    oldest = lakehouse.now - timedelta(minutes=3)
    for created_at, published_at in ((oldest, None), (lakehouse.now, None), (oldest - timedelta(hours=1), oldest)):
        lakehouse.sql(
            "INSERT INTO event_outbox (event_id, topic, message_key, payload, created_at, published_at) "
            "VALUES (gen_random_uuid(), 'gourmetgram.views', 'key', '{}', %s, %s)",
            *(created_at, published_at),
        )
    assert parse_utc(lakehouse.run().complete_through) == oldest


def test_complete_through_waits_for_the_oldest_open_writing_transaction(lakehouse: LakehousePlatform) -> None:
    writer = psycopg2.connect(owner_url(lakehouse.sources.postgres.database_url))
    reader = psycopg2.connect(owner_url(lakehouse.sources.postgres.database_url))
    try:
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM users")
        with writer.cursor() as cursor:
            cursor.execute("SELECT now()")
            (started,) = cursor.fetchone()
            result = lakehouse.run()
            # It has written nothing yet, but it is young and may.
            assert parse_utc(result.complete_through) <= started
            cursor.execute("INSERT INTO users (username) VALUES ('somebody')")
            wait_until(lambda: datetime.now(UTC) - started > timedelta(seconds=11), 15, "the transaction's age")
            assert parse_utc(lakehouse.run().complete_through) == started
        writer.commit()
        # The reader is still open, but old enough to be known as one.
        assert parse_utc(lakehouse.run().complete_through) > started + timedelta(seconds=10)
    finally:
        writer.close()
        reader.close()


def test_snapshot_property_and_checkpoint_tell_the_same_progress(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(30)
    result = lakehouse.run()
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
    summary = summary_of(table.current_snapshot())
    assert summary[RUN_ID] == result.run_id
    assert table.properties[COMPLETE_THROUGH] == summary[COMPLETE_THROUGH] == result.complete_through
    checkpoint = checkpoint_document(lakehouse.sources.iceberg)
    assert list(checkpoint) == ["version", "offsets", "updated_at", "last_run_id", "bootstrap"]
    assert checkpoint["version"] == 1
    assert checkpoint["bootstrap"] == "earliest"
    assert checkpoint["last_run_id"] == result.run_id
    assert checkpoint["updated_at"].endswith("Z")
    assert checkpoint["offsets"] == json.loads(summary[OFFSETS])
    assert json.loads(json.dumps(checkpoint)) == checkpoint


def test_no_checkpoint_before_the_first_run(lakehouse: LakehousePlatform) -> None:
    with pytest.raises(PermanentError, match="run consume_and_aggregate_events first"):
        checkpoint_document(lakehouse.sources.iceberg)


def test_the_consumer_group_commits_nothing(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(10)
    lakehouse.run()
    admin = lakehouse.admin()
    groups = admin.list_consumer_groups().result(30).valid
    assert "airflow_event_aggregator" not in {group.group_id for group in groups}


def _forget_topic_ids(lakehouse: LakehousePlatform) -> None:
    """As if the broker had none: a snapshot of the same progress without them."""
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
        own = {**own_properties(summary_of(table.current_snapshot())), "gourmetgram.topic_ids": "{}"}
        with table.transaction() as transaction, transaction.update_snapshot(own).fast_append():
            pass
