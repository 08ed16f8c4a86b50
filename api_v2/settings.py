"""Settings of version 2: those of version 1, and the broker."""

from typing import Annotated

from pydantic import Field

from api_v1.settings import ApiSettings
from gourmetgram.settings import KafkaSettings


class ApiV2Settings(ApiSettings, KafkaSettings):
    """Settings of api_v2."""

    outbox_retention_s: Annotated[int, Field(ge=0)] = 3_600
    """Time for which a published event stays in the outbox, where `gourmetgram outbox replay` finds it, seconds."""
