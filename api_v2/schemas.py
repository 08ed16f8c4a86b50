"""Answers that differ in version 2."""

from pydantic import BaseModel, Field


class KafkaStats(BaseModel):
    """Events of this API, all its processes together: published ones, and the outbox."""

    enabled: bool
    total_events: int
    events_by_topic: dict[str, int]
    outbox_pending: int


class HealthV2(BaseModel):
    """The process is alive; `degraded` while the broker or the database does not answer."""

    status: str = Field(examples=["healthy"])
    kafka_enabled: bool
    kafka_stats: KafkaStats
