"""Every setting of the stream consumer."""

from typing import Annotated

from pydantic import Field

from gourmetgram.settings import (
    CommaSeparated,
    KafkaSettings,
    LogSettings,
    PostgresSettings,
    RedisSettings,
    Seconds,
    WorkerSettings,
)
from gourmetgram.windows import TriggerSettings


class ConsumerSettings(KafkaSettings, RedisSettings, PostgresSettings, LogSettings, WorkerSettings, TriggerSettings):
    """Settings of the stream consumer."""

    kafka_consumer_group: str = "gourmetgram-stream-consumer"
    kafka_topics: CommaSeparated = ()
    """Topics to read; when empty, the four event topics."""
    consumer_max_poll_records: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records that are taken from the client in one step."""
    consumer_max_batch_records: Annotated[int, Field(ge=1, le=20_000)] = 10_000
    """Records of one batch, which one Redis call applies. A backlog fills it in several steps."""
    consumer_dedup_hours: Annotated[int, Field(ge=2, le=24 * 30)] = 24
    """Hours for which the id of an event is remembered after the last event of its hour."""
    standstill_seconds: Seconds = 30.0
    """`/health` is unhealthy when records wait, and none was applied for this many seconds."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 9101

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics to read."""
        return self.kafka_topics or self.event_topics
