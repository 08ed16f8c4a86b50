"""A small platform made by hand: rows, objects, events, Redis keys, requests and decisions that agree with each other.

It stands in for the services in tests of `trace` and `audit`, so that these can plant one fault at a time.
"""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import redis as redis_library
from confluent_kafka import Producer, TopicPartition
from sqlalchemy import Engine, text

from gourmetgram.clients import s3
from gourmetgram.events import request_uuid
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.publish import OutgoingMessage
from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.windows import COUNT_NAMES
from gourmetgram_tools.inspection.kafka_reading import reader
from gourmetgram_tools.inspection.platform import Platform
from tests.support.publishing import publish_all

COUNTS_OF = {"views": "view", "comments": "comment", "flags": "flag"}


class SmallPlatform:
    """Writes to the stores of a platform as its services would, one event a second from `start` on."""

    def __init__(self, platform: Platform, engine: Engine, redis: redis_library.Redis) -> None:
        self.platform = platform
        self.engine = engine
        self.redis = redis
        self.producer: Producer = create_producer(platform.kafka, "small-platform")
        self.s3 = s3.connect(platform.objects, s3.JOB)
        self.now = datetime.now(UTC).replace(microsecond=125_000) - timedelta(minutes=30)
        self.decisions: list[str] = []

    # --- one thing in one store --------------------------------------------------------------------------------------

    def sql(self, statement: str, **values: Any) -> Any:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return result.scalar() if result.returns_rows else None

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def publish(self, topic: str, key: str | None, message: dict[str, Any]) -> None:
        publish_all(self.producer, [OutgoingMessage(topic, key, json.dumps(message).encode())])

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    # --- what users do -----------------------------------------------------------------------------------------------

    def user(self) -> str:
        return str(
            self.sql(
                "INSERT INTO users (username, created_at) VALUES (:name, :at) RETURNING id",
                name=uuid.uuid4().hex,
                at=self.tick(),
            )
        )

    def upload(
        self, user_id: str, category: str | None = "Soup", caption: str = "hot soup", picture: bytes = b"picture"
    ) -> str:
        image_id, at = str(uuid.uuid4()), self.tick()
        bucket, key = self.platform.objects.s3_bucket_name, f"{image_id}.jpg"
        url = f"{self.platform.objects.s3_endpoint_url}/{bucket}/{key}"
        self.s3.put_object(Bucket=bucket, Key=key, Body=picture, ContentType="image/jpeg")
        self.sql(
            "INSERT INTO images (id, user_id, s3_url, caption, category, created_at) "
            "VALUES (:id, :user, :url, :caption, :category, :at)",
            id=image_id, user=user_id, url=url, caption=caption, category=category, at=at,
        )  # fmt: skip
        message = {"user_id": user_id, "category": category, "caption": caption, "s3_url": url}
        self.event("upload", image_id, at, **message)
        self.redis.hset(
            f"image:{image_id}:metadata",
            mapping={
                "category": category or "Unknown",
                "caption_length": str(len(caption)),
                "uploaded_at": f"{at.timestamp():.6f}",
                "user_id": user_id,
            },
        )
        return image_id

    def view(self, image_id: str) -> str:
        at = self.tick()
        self.sql("UPDATE images SET views = views + 1 WHERE id = :id", id=image_id)
        return self.event("view", image_id, at)

    def comment(self, image_id: str, user_id: str, content: str = "good") -> str:
        row_id, at = str(uuid.uuid4()), self.tick()
        self.sql(
            "INSERT INTO comments (id, image_id, user_id, content, created_at) "
            "VALUES (:id, :image, :user, :content, :at)",
            id=row_id, image=image_id, user=user_id, content=content, at=at,
        )  # fmt: skip
        self.event("comment", image_id, at, comment_id=row_id, user_id=user_id, content=content)
        return row_id

    def flag(self, image_id: str, user_id: str, reason: str = "spam", comment_id: str | None = None) -> str:
        """A flag on the image or, with `comment_id`, on a comment of it."""
        row_id, at = str(uuid.uuid4()), self.tick()
        self.sql(
            "INSERT INTO flags (id, image_id, comment_id, user_id, reason, created_at) "
            "VALUES (:id, :image, :comment, :user, :reason, :at)",
            id=row_id, image=None if comment_id else image_id, comment=comment_id, user=user_id, reason=reason, at=at,
        )  # fmt: skip
        self.event("flag", image_id, at, flag_id=row_id, comment_id=comment_id, user_id=user_id, reason=reason)
        return row_id

    # --- what the services do ----------------------------------------------------------------------------------------

    def event(self, kind: str, image_id: str, at: datetime, **fields: Any) -> str:
        """Publish an event and count it in Redis."""
        kafka = self.platform.kafka
        topics = {
            "view": kafka.kafka_topic_views,
            "comment": kafka.kafka_topic_comments,
            "flag": kafka.kafka_topic_flags,
            "upload": kafka.kafka_topic_uploads,
        }
        event_id = str(uuid.uuid4())
        message = {
            "event_type": kind,
            "event_id": event_id,
            "image_id": image_id,
            "viewed_at" if kind == "view" else "created_at": at.isoformat(),
            "actor_eligible": True,
            **fields,
        }
        self.publish(topics[kind], image_id, message)
        if kind != "upload":
            seconds = f"{at.timestamp():.6f}"
            key = f"image:{image_id}:{kind}s:1hr"
            self.redis.zadd(key, {f"{kind}:{seconds}:{event_id[:8]}": float(seconds)})
            self.redis.expire(key, 7200)
            self.redis.incr(f"image:{image_id}:total_{kind}s")
        return event_id

    def decide(self, image_id: str, trigger: str, event_id: str, at: datetime, decision: bool = True) -> str:
        """Raise an alert, send its request, and store its decision."""
        request_id = request_uuid(image_id, trigger, event_id)
        counts = dict.fromkeys(COUNT_NAMES, 0)
        for name, (kind, seconds) in {
            "views_5min": ("views", 300), "views_1hr": ("views", 3600),
            "comments_1min": ("comments", 60), "comments_5min": ("comments", 300), "comments_1hr": ("comments", 3600),
            "flags_5min": ("flags", 300), "flags_1hr": ("flags", 3600),
        }.items():  # fmt: skip
            low = at.timestamp() - seconds
            counts[name] = self.redis.zcount(f"image:{image_id}:{kind}:1hr", f"({low:.6f}", f"{at.timestamp():.6f}")
        context = {**counts, "read_to": self.read_to(image_id)}
        message = {
            "request_id": request_id,
            "image_id": image_id,
            "trigger": trigger,
            "context": context,
            "timestamp": at.timestamp(),
        }
        self.publish(self.platform.kafka.moderation_topic, image_id, message)
        self.redis.set(f"image:{image_id}:alert:{trigger}", f"{at.timestamp():.6f}")
        if decision:
            self.sql(
                "INSERT INTO moderation (inference_request_id, target_type, target_id, inference_mode, risk_score, "
                "recommendation, trigger_type, rationale, features, created_at) VALUES "
                "(:request, 'image', :image, 'heuristic', 0.4, 'REVIEW', :trigger, 'flags: total_flags=2', "
                "CAST(:features AS jsonb), :at)",
                request=request_id, image=image_id, trigger=trigger, features=json.dumps(counts), at=self.tick(),
            )  # fmt: skip
        return request_id

    def read_to(self, image_id: str) -> dict[str, int]:
        kafka = self.platform.kafka
        with reader(kafka) as consumer:
            # More than there is in any partition: everything published so far has been read.
            return dict.fromkeys(
                kafka.event_topics, max(s.end for s in held_ranges(consumer, kafka.event_topics).values())
            )

    def settle(self) -> None:
        """Commit the ends of all topics for both groups: the services have read everything."""
        kafka = self.platform.kafka
        for group, topics in (
            (self.platform.consumer_group, kafka.event_topics),
            (self.platform.scorer_group, (kafka.moderation_topic,)),
        ):
            with reader(kafka, group) as consumer:
                ends = held_ranges(consumer, topics)
                offsets = [TopicPartition(topic, number, span.end) for (topic, number), span in ends.items()]
                consumer.commit(offsets=offsets, asynchronous=False)


def lively_image(small: SmallPlatform) -> str:
    """An image with an upload, 12 views, 3 comments and 2 flags; flagged, judged, everything in agreement."""
    author, visitor = small.user(), small.user()
    image_id = small.upload(author)
    for _ in range(12):
        small.view(image_id)
    small.sql(
        "INSERT INTO image_milestones (image_id, milestone_type, milestone_value, reached_at) "
        "VALUES (:image, 'views', 10, :at)",
        image=image_id, at=small.now,
    )  # fmt: skip
    for _ in range(3):
        small.comment(image_id, visitor)
    small.flag(image_id, visitor)
    at = small.tick()
    flag_id = str(uuid.uuid4())
    small.sql(
        "INSERT INTO flags (id, image_id, user_id, reason, created_at) VALUES (:id, :image, :user, 'spam', :at)",
        id=flag_id, image=image_id, user=author, at=at,
    )  # fmt: skip
    event_id = small.event("flag", image_id, at, flag_id=flag_id, comment_id=None, user_id=author, reason="spam")
    small.decide(image_id, "flagged", event_id, at)
    return image_id


def unix_now_us() -> int:
    return time.time_ns() // 1000
