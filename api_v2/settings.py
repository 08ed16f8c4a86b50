"""Settings of version 2: those of version 1, and the broker."""

from api_v1.settings import ApiSettings
from gourmetgram.settings import KafkaSettings


class ApiV2Settings(ApiSettings, KafkaSettings):
    """Settings of api_v2."""
