"""What tests of the stream consumer share: topics, databases of their own, events, consumers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.records import to_record
from gourmetgram.settings import PROJECT_ROOT, KafkaSettings
from stream_consumer.service import StreamConsumer
from stream_consumer.settings import ConsumerSettings
from tests.support.databases import owner_url
from tests.support.topic_variables import TOPIC_VARIABLES
from tests.support.waiting import wait_until

RedisClient = redis.Redis

TIME_FIELDS = {"view": "viewed_at", "comment": "created_at", "flag": "created_at", "upload": "created_at"}


def now_us() -> int:
    return time.time_ns() // 1000


def iso(time_us: int) -> str:
    seconds, micros = divmod(time_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros).isoformat()


def event(kind: str, image_id: str, time_us: int, **fields: Any) -> dict[str, Any]:
    """An event as api_v2 writes it; `fields` replace or add."""
    return {
        "event_type": kind,
        "event_id": str(uuid.uuid4()),
        "image_id": image_id,
        TIME_FIELDS[kind]: iso(time_us),
        "actor_eligible": True,
        **fields,
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def new_image() -> str:
    return str(uuid.uuid4())


@dataclass
class ConsumerPlatform:
    """The servers as one test sees them: nothing else uses these topics and databases."""

    environment: dict[str, str]
    redis: redis.Redis
    folder: Path
    others: tuple[RedisClient, ...] = ()
    """Clients of further Redis servers, in the order of `REDIS_URLS`."""
    producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        self.producer = create_producer(KafkaSettings.load(self.environment), "test")

    @property
    def servers(self) -> tuple[RedisClient, ...]:
        return (self.redis, *self.others)

    # --- in --------------------------------------------------------------------------------------------------------

    def topic(self, kind: str) -> str:
        return self.environment[TOPIC_VARIABLES[kind]]

    def publish(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Publish events to the topic of their kind, keyed by image, and wait until the broker has them."""
        for item in events:
            self.producer.produce(self.topic(item["event_type"]), key=item["image_id"], value=json.dumps(item))
            self.producer.poll(0)
        assert self.producer.flush(10) == 0

    def publish_raw(self, topic: str, value: bytes | None, key: str | None = None) -> None:
        self.producer.produce(topic, key=key, value=value)
        assert self.producer.flush(10) == 0

    # --- consumers -------------------------------------------------------------------------------------------------

    def settings(self, **changes: str) -> ConsumerSettings:
        return ConsumerSettings.load({**self.environment, "HEALTH_HOST": "127.0.0.1", **changes})

    @contextmanager
    def consumer(self, **changes: str) -> Iterator[StreamConsumer]:
        """A consumer in a thread of this process; it ends as after SIGTERM."""
        consumer = StreamConsumer(self.settings(**changes))
        stop = threading.Event()
        thread = threading.Thread(target=consumer.run, args=(stop,), name="consumer-under-test")
        thread.start()
        try:
            yield consumer
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()

    @contextmanager
    def process(self, **changes: str) -> Iterator["ConsumerProcess"]:
        """A consumer as a process of its own; killed at the end when it still runs."""
        process = ConsumerProcess(self, changes)
        try:
            yield process
        finally:
            process.kill()

    # --- out -------------------------------------------------------------------------------------------------------

    def end_offsets(self) -> dict[Partition, int]:
        """The next offset of every partition of the event topics."""
        with self._reader() as reader:
            return {
                Partition(topic, partition): reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[
                    1
                ]
                for topic in self.environment["KAFKA_TOPICS"].split(",")
                for partition in reader.list_topics(topic, timeout=10).topics[topic].partitions
            }

    def applied(self) -> dict[Partition, int]:
        """The offsets that stand in Redis."""
        stored: dict[Any, Any] = {}
        for server in self.servers:
            stored |= server.hgetall("consumer:offsets")
        places = ((str(name).rsplit("/", 1), int(offset)) for name, offset in stored.items())
        return {Partition(topic, int(number)): offset for (topic, number), offset in places}

    def committed(self) -> dict[Partition, int]:
        """The group's offsets in Kafka."""
        partitions = [TopicPartition(*partition) for partition in self.end_offsets()]
        with self._reader() as reader:
            return {
                Partition(answer.topic, answer.partition): answer.offset
                for answer in reader.committed(partitions, timeout=10)
                if answer.offset >= 0
            }

    def wait_applied(self, deadline_s: float = 30.0) -> None:
        """Wait until everything that is in the topics now is in Redis."""
        ends = self.end_offsets()
        wait_until(lambda: self.applied() == ends, deadline_s, f"Redis to stand at {ends}")

    def wait_settled(self, deadline_s: float = 30.0) -> None:
        """Wait until everything is applied and no request is on its way."""
        self.wait_applied(deadline_s)
        wait_until(
            lambda: not any(server.keys("consumer:pending:*") for server in self.servers),
            deadline_s,
            "all requests to be confirmed",
        )

    def requests(self) -> list[dict[str, Any]]:
        """The messages of the moderation topic."""
        return [json.loads(value) for value in self._values(self.environment["MODERATION_TOPIC"])]

    def dead_letters(self) -> list[dict[str, Any]]:
        return [json.loads(value) for value in self._values(self.environment["DEAD_LETTER_TOPIC"])]

    def total(self, image_id: str, kind: str = "views") -> int:
        return sum(int(server.get(f"image:{image_id}:total_{kind}") or 0) for server in self.servers)

    def image_state(self) -> dict[str, Any]:
        """All keys of images with their values, without TTLs."""
        return {key: value for server in self.servers for key, value in _image_state(server).items()}

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL in the test's database."""
        connection = psycopg2.connect(owner_url(self.environment["DATABASE_URL"]))
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def insert_image(self) -> str:
        """An image with a row, as milestones need it."""
        image_id, user_id = new_image(), new_image()
        self.rows("INSERT INTO users (id, username) VALUES (%s, %s)", user_id, user_id)
        self.rows("INSERT INTO images (id, user_id, s3_url) VALUES (%s, %s, 'x')", image_id, user_id)
        return image_id

    def _values(self, topic: str) -> list[bytes]:
        """Everything in a topic, in the order of the broker's time."""
        found: list[tuple[int, bytes]] = []
        with self._reader() as reader:
            for partition in reader.list_topics(topic, timeout=10).topics[topic].partitions:
                place = TopicPartition(topic, partition, 0)
                end = reader.get_watermark_offsets(place, timeout=10)[1]
                reader.assign([place])
                seen = 0
                while seen < end:
                    message = reader.poll(10)
                    assert message is not None
                    record = to_record(message)
                    seen = record.offset + 1
                    found.append((record.broker_time_us, record.value or b""))
        return [value for _, value in sorted(found, key=lambda item: item[0])]

    @contextmanager
    def _reader(self) -> Iterator[Consumer]:
        reader = Consumer(
            {
                "bootstrap.servers": self.environment["KAFKA_BOOTSTRAP_SERVERS"],
                "broker.address.family": "v4",
                "group.id": self.environment["KAFKA_CONSUMER_GROUP"],
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        try:
            yield reader
        finally:
            reader.close()


def _image_state(server: redis.Redis) -> dict[str, Any]:
    readers: dict[str, Callable[[str], Any]] = {
        "string": server.get,
        "hash": server.hgetall,
        "zset": lambda key: server.zrange(key, 0, -1, withscores=True),
    }
    return {key: readers[str(server.type(key))](key) for key in server.scan_iter("image:*")}


class ConsumerProcess:
    """`python -m stream_consumer`, with its log in a file."""

    def __init__(self, platform: ConsumerPlatform, changes: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log_file = platform.folder / f"consumer-{uuid.uuid4().hex[:8]}.log"
        base = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LANG", "TZ", "COVERAGE_PROCESS_CONFIG")
        }
        variables = {"HEALTH_HOST": "127.0.0.1", "HEALTH_PORT": str(self.port), **changes}
        with self.log_file.open("w") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "stream_consumer"],
                cwd=PROJECT_ROOT,
                env={**base, **platform.environment, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def messages(self) -> list[str]:
        """The messages of the log lines, without time, logger and level."""
        parts = (line.split(" - ", 3) for line in self.log.splitlines())
        return [part[3] for part in parts if len(part) == 4]

    def wait_line(self, text: str, deadline_s: float = 30.0) -> None:
        wait_until(lambda: text in self.log, deadline_s, f"the log line '{text}'")

    def health(self) -> httpx.Response | None:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=2)
        except httpx.TransportError:
            return None

    def health_body(self) -> Any:
        answer = self.health()
        assert answer is not None
        return answer.json()

    def wait_healthy(self, deadline_s: float = 30.0) -> None:
        def healthy() -> bool:
            answer = self.health()
            return answer is not None and answer.status_code == 200

        wait_until(healthy, deadline_s, "the consumer to be healthy")

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(20)

    def kill(self) -> None:
        """SIGKILL."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(20)
