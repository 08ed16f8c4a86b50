"""Every setting of the risk scoring service."""

from typing import Annotated, Literal

from pydantic import Field

from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.policy.heuristic import PolicyVersion
from gourmetgram.settings import (
    KafkaSettings,
    LogSettings,
    ObjectStoreSettings,
    PostgresSettings,
    RedisSettings,
    Seconds,
    WorkerSettings,
)

InferenceMode = Literal["heuristic", "model", "shadow"]


class ScorerSettings(
    KafkaSettings,
    RedisSettings,
    PostgresSettings,
    ObjectStoreSettings,
    ModelStoreSettings,
    LogSettings,
    WorkerSettings,
):
    """Settings of the risk scoring service."""

    kafka_consumer_group: str = "gourmetgram-moderation"

    policy_version: PolicyVersion = "v1"

    inference_mode: InferenceMode = "heuristic"
    """`heuristic`: the rules decide. `model`: a model decides, or the rules while none is loaded. `shadow`: the rules
    decide, and a model's probability is stored beside their score."""

    model_check_interval: Seconds = 30.0
    """Time between two polls for a new model, seconds."""

    unknown_image_wait: Seconds = 30.0
    """Longest wait for the row of a request's image, seconds. After it the request becomes a dead letter."""

    scorer_max_poll_records: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Most requests of one batch, that is, of one insert."""

    standstill_seconds: Seconds = 30.0
    """`/health` is unhealthy when requests or dead letters wait, and none was finished for this many seconds."""

    health_port: Annotated[int, Field(ge=0, le=65535)] = 9102
    """Port of `/health` and `/metrics`."""
