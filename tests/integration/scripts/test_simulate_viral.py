"""The lab's script: 110 views straight to Kafka, which the platform takes for what they are."""

import subprocess
import sys
import uuid

import orjson
import psycopg2
import pytest
from confluent_kafka import Consumer, TopicPartition

from gourmetgram.events import Event, Record, parse_event
from gourmetgram.kafka.clients import PARTITIONER, client_config, create_producer
from gourmetgram.kafka.publish import OutgoingMessage
from gourmetgram.kafka.records import to_record
from gourmetgram.settings import PROJECT_ROOT, KafkaSettings
from tests.support.publishing import publish_all

pytestmark = pytest.mark.servers

TOPIC = "gourmetgram.views"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = PROJECT_ROOT / "scripts" / "simulate_viral.py"
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture(name="settings")
def settings_fixture(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap)


def _ends(settings: KafkaSettings) -> dict[int, int]:
    consumer = Consumer({**client_config(settings, "test"), "group.id": str(uuid.uuid4())})
    try:
        return {number: consumer.get_watermark_offsets(TopicPartition(TOPIC, number))[1] for number in range(4)}
    finally:
        consumer.close()


def _records(settings: KafkaSettings, since: dict[int, int], number: int) -> list[Record]:
    consumer = Consumer({**client_config(settings, "test"), "group.id": str(uuid.uuid4())})
    consumer.assign([TopicPartition(TOPIC, partition, offset) for partition, offset in since.items()])
    try:
        return [to_record(message) for message in consumer.consume(number, timeout=20)]
    finally:
        consumer.close()


def _image(database_url: str) -> str:
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO users (username) VALUES (%s) RETURNING id", (str(uuid.uuid4()),))
        cursor.execute(
            "INSERT INTO images (user_id, s3_url) VALUES (%s, 'http://x/y.jpg') RETURNING id", (cursor.fetchone()[0],)
        )
        return str(cursor.fetchone()[0])


def test_it_publishes_110_views_of_a_random_image_and_says_so(
    database_url: str, kafka_bootstrap: str, settings: KafkaSettings
) -> None:
    image_id = _image(database_url)
    before = _ends(settings)
    done = _run("--bootstrap", kafka_bootstrap, "--database-url", database_url)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        f"Simulating viral burst for image: {image_id}",
        f"Publishing 110 view events to '{TOPIC}'...",
        "Done. 110 view events published.",
    ]
    assert "docker logs -f stream-consumer" in done.stdout
    records = _records(settings, before, 110)
    events = [event for record in records if isinstance(event := parse_event(record), Event)]
    assert len(records) == len(events) == 110
    assert all(event.image_id == image_id for event in events)
    assert len({record.partition for record in records}) == 1
    times = [event.time_us for event in events]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(240_000_000, abs=10)
    assert [orjson.loads(record.value or b"")["user_id"] for record in records] == [f"sim-user-{n}" for n in range(110)]


def test_its_partition_is_the_one_that_the_platform_uses(kafka_bootstrap: str, settings: KafkaSettings) -> None:
    image_id = str(uuid.uuid4())
    before = _ends(settings)
    assert _run(image_id, "--bootstrap", kafka_bootstrap).returncode == 0
    event = orjson.dumps({"event_type": "view", "image_id": image_id})
    publish_all(create_producer(settings, "test"), [OutgoingMessage(TOPIC, image_id, event)])
    assert PARTITIONER == "murmur2_random"
    assert len({record.partition for record in _records(settings, before, 111)}) == 1


def test_without_any_image_it_says_what_to_do(database_url: str, kafka_bootstrap: str) -> None:
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE images CASCADE")
    done = _run("--bootstrap", kafka_bootstrap, "--database-url", database_url)
    assert done.returncode == 1
    assert done.stderr.strip() == "No images found in the database. Run the data generator first."


def test_it_avoids_images_in_cool_down(database_url: str, kafka_bootstrap: str) -> None:
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE images CASCADE")
    judged, free = _image(database_url), _image(database_url)
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO moderation (target_type, target_id, inference_mode, risk_score, trigger_type) "
            "VALUES ('image', %s, 'heuristic', 0, 'viral')",
            (judged,),
        )
    done = _run("--bootstrap", kafka_bootstrap, "--database-url", database_url)
    assert done.stdout.splitlines()[0] == f"Simulating viral burst for image: {free}"


@pytest.mark.parametrize(
    "arguments", [["--bootstrap", "localhost:1"], ["--database-url", "postgresql://user:x@localhost:1/x"]]
)
def test_an_absent_server_gives_one_sentence(arguments: list[str], kafka_bootstrap: str) -> None:
    target = [str(uuid.uuid4())] if arguments[0] == "--bootstrap" else []
    done = _run(*target, *arguments)
    assert done.returncode == 1
    assert "Is the platform up?" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_explains_itself() -> None:
    assert "pip install kafka-python psycopg2-binary" in _run("--help").stdout
