"""Where a platform's stores are, and the rules its consumer works by."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Self

from pydantic import BeforeValidator, Field

from gourmetgram.settings import (
    IcebergSettings,
    KafkaSettings,
    ObjectStoreSettings,
    PostgresSettings,
    RedisSettings,
    Settings,
)


def _minutes(value: object) -> object:
    """Turn `5,30` into `(5, 30)`."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class TriggerRules(Settings):
    """The stream consumer's thresholds, by which the audit works out the requests that must exist."""

    viral_threshold_views_5min: Annotated[int, Field(ge=1)] = 100
    suspicious_threshold_comments_1min: Annotated[int, Field(ge=1)] = 10
    flagged_threshold_flags_5min: Annotated[int, Field(ge=1)] = 2
    popular_threshold_views_1hr: Annotated[int, Field(ge=1)] = 50
    trigger_on_upload: bool = False
    rescore_at_minutes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_minutes)] = ()


class _Api(Settings):
    generator_api_url: str = "http://localhost:8000"


class _Group(Settings):
    kafka_consumer_group: str


class Platform(NamedTuple):
    """Addresses of one running platform.

    Attributes:
        api_url: base URL of the HTTP API.
        consumer_group: Kafka group of the stream consumer.
        scorer_group: Kafka group of the risk scoring service.
        rules: the consumer's thresholds.
    """

    postgres: PostgresSettings
    kafka: KafkaSettings
    redis: RedisSettings
    objects: ObjectStoreSettings
    iceberg: IcebergSettings
    api_url: str
    consumer_group: str
    scorer_group: str
    rules: TriggerRules

    @classmethod
    def from_environment(
        cls, variables: Mapping[str, str], consumer: Mapping[str, str], scorer: Mapping[str, str]
    ) -> Self:
        """Read the addresses from variables by their names in the lab.

        Args:
            variables: addresses that every program uses.
            consumer: the stream consumer's variables: its group and thresholds.
            scorer: the risk scoring service's variables: its group.

        Raises:
            SettingsError: a variable is missing or has a value that is not allowed.
        """
        return cls(
            postgres=PostgresSettings.load(variables),
            kafka=KafkaSettings.load(variables),
            redis=RedisSettings.load(variables),
            objects=ObjectStoreSettings.load(variables),
            iceberg=IcebergSettings.load(variables),
            api_url=_Api.load(variables).generator_api_url,
            consumer_group=_Group.load(consumer).kafka_consumer_group,
            scorer_group=_Group.load(scorer).kafka_consumer_group,
            rules=TriggerRules.load(consumer),
        )
