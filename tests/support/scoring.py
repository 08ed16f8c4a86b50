"""What tests of scoring share: people, images and flags in PostgreSQL, requests in Kafka, the scorer in a thread."""

import itertools
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import orjson
import psycopg2
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from psycopg2.extras import RealDictCursor

from gourmetgram.events import ModerationRequest
from gourmetgram.kafka.clients import create_consumer, create_producer
from gourmetgram.kafka.offsets import committed_offsets
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.publish import OutgoingMessage
from gourmetgram.settings import KafkaSettings
from gourmetgram.windows import COUNT_NAMES
from risk_scoring_service.service import ScoringService
from risk_scoring_service.settings import ScorerSettings
from tests.support.databases import owner_url
from tests.support.publishing import publish_all

NOON = datetime(2026, 3, 4, 12, 0, 0, 123_456, tzinfo=UTC)
"""A time of uploads: Wednesday, and not a whole second."""

NO_COUNTS = dict.fromkeys(COUNT_NAMES, 0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_names = itertools.count(1)


def microseconds(moment: datetime) -> int:
    """Microseconds since the epoch, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


@dataclass
class People:
    """Writes rows as people would leave them, straight into the database."""

    database_url: str

    def insert(self, table: str, **values: object) -> str:
        """Insert a row and return its id."""
        columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        with (
            closing(psycopg2.connect(owner_url(self.database_url))) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks}) RETURNING id", tuple(values.values()))
            row = cursor.fetchone()
        assert row is not None
        return str(row[0])

    def user(self, **values: object) -> str:
        return self.insert("users", **{"username": f"user-{next(_names)}-{uuid.uuid4().hex[:6]}", **values})

    def image(self, user_id: str | None = None, **values: object) -> str:
        owner = user_id or self.user(created_at=NOON - timedelta(days=3))
        return self.insert("images", **{"user_id": owner, "s3_url": "s3://x/y.jpg", "created_at": NOON, **values})

    def comment(self, image_id: str, **values: object) -> str:
        return self.insert("comments", **{"image_id": image_id, "user_id": self.user(), "content": "yum", **values})

    def flag(self, **values: object) -> str:
        return self.insert("flags", **{"user_id": self.user(), "reason": "spam", **values})

    def decisions(self) -> list[dict[str, Any]]:
        """All rows of `moderation`, in the order in which they were stored."""
        with (
            closing(psycopg2.connect(owner_url(self.database_url), cursor_factory=RealDictCursor)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT * FROM moderation ORDER BY created_at, id")
            return [dict(row) for row in cursor.fetchall()]

    def decision(self, request_id: str) -> dict[str, Any] | None:
        """The row of a request; fails when there are several."""
        rows = [row for row in self.decisions() if row["inference_request_id"] == request_id]
        assert len(rows) <= 1
        return rows[0] if rows else None


def make_request(image_id: str, at: datetime = NOON, trigger: str = "viral", **counts: int) -> ModerationRequest:
    """A request with full context; counts that are not named are 0."""
    return ModerationRequest(
        request_id=str(uuid.uuid4()),
        image_id=image_id,
        trigger=trigger,
        time_us=microseconds(at),
        context={**NO_COUNTS, **counts, "read_to": {}},
    )


@dataclass
class Requests:
    """The moderation topic and the dead-letter topic of one test."""

    settings: KafkaSettings
    group: str

    def send(self, *messages: ModerationRequest | bytes | None) -> None:
        """Publish requests, or raw values, in order; requests are keyed by image."""
        publish_all(self._producer, [self._outgoing(message) for message in messages])

    @cached_property
    def _producer(self) -> Producer:
        return create_producer(self.settings, "tests")

    def _outgoing(self, message: ModerationRequest | bytes | None) -> OutgoingMessage:
        topic = self.settings.moderation_topic
        if isinstance(message, ModerationRequest):
            return OutgoingMessage(topic, message.image_id, message.to_json())
        return OutgoingMessage(topic, None, message)  # type: ignore[arg-type]

    def committed(self) -> int:
        """How many records the group has committed, over all partitions."""
        consumer = create_consumer(self.settings, "tests", self.group)
        try:
            topic = self.settings.moderation_topic
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            offsets = committed_offsets(consumer, [Partition(topic, number) for number in partitions])
            return sum(offset or 0 for offset in offsets.values())
        finally:
            consumer.close()

    @contextmanager
    def dead_letters(self) -> Iterator["DeadLetters"]:
        """Read the dead-letter topic from its start."""
        consumer = create_consumer(self.settings, "tests", f"tests-{uuid.uuid4()}")
        try:
            topic = self.settings.dead_letter_topic
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            # Not as a member of the group: nothing of a group has to survive when a test stops the broker.
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
            yield DeadLetters(consumer)
        finally:
            consumer.close()


class DeadLetters:
    """Collects dead letters as they come."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.seen: list[dict[str, Any]] = []

    def at_least(self, number: int) -> list[dict[str, Any]]:
        """All so far when there are that many, else nothing: a condition to wait for."""
        for message in self._consumer.consume(100, timeout=0.1):
            error = message.error()
            if error is not None:
                # The client's own errors come as messages, too; all but fatal ones it mends by itself.
                assert not error.fatal(), error.str()
                continue
            self.seen.append(orjson.loads(message.value() or b""))
        return self.seen if len(self.seen) >= number else []


@contextmanager
def running_scorer(environment: Mapping[str, str]) -> Iterator[ScoringService]:
    """Run the service in a thread of this process, wired as in production."""
    service = ScoringService(ScorerSettings.load(environment))
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            service.run(stop)
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=work, name="scorer-under-test")
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
        assert not failures


def by_request(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Rows of `moderation` by request id."""
    return {str(row["inference_request_id"]): row for row in rows}
