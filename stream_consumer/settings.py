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
    """The topics to read; when empty, the four event topics."""
    consumer_max_poll_records: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records that one look at the broker's answer may take."""
    consumer_max_batch_records: Annotated[int, Field(ge=1, le=20_000)] = 10_000
    """Records that one Redis call may apply: when records are waiting, several looks are put together."""
    consumer_dedup_hours: Annotated[int, Field(ge=2, le=24 * 30)] = 24
    """How long an event's id is remembered after its hour was last written to."""
    standstill_seconds: Seconds = 30.0
    """`/health` says unhealthy when records wait and none was done for so long."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 9101

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to read."""
        return self.kafka_topics or self.event_topics
