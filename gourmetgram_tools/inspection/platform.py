"""Addresses of one platform's stores, and the thresholds of its consumer."""

from collections.abc import Mapping
from typing import NamedTuple, Self

from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.settings import (
    IcebergSettings,
    KafkaSettings,
    ObjectStoreSettings,
    PostgresSettings,
    RedisSettings,
    Settings,
)
from gourmetgram.windows import TriggerSettings


class _Api(Settings):
    generator_api_url: str = "http://localhost:8000"


class _Mlflow(Settings):
    mlflow_tracking_uri: str = "http://localhost:5000"


class _Group(Settings):
    kafka_consumer_group: str


class Platform(NamedTuple):
    """Addresses of one running platform.

    Attributes:
        models: folder of the published models.
        api_url: base URL of the HTTP API.
        mlflow_address: base URL of MLflow's pages.
        consumer_group: Kafka group of the stream consumer.
        scorer_group: Kafka group of the risk scoring service.
        rules: the consumer's thresholds.
    """

    postgres: PostgresSettings
    kafka: KafkaSettings
    redis: RedisSettings
    objects: ObjectStoreSettings
    iceberg: IcebergSettings
    models: ModelStoreSettings
    api_url: str
    mlflow_address: str
    consumer_group: str
    scorer_group: str
    rules: TriggerSettings

    @classmethod
    def from_environment(
        cls, variables: Mapping[str, str], consumer: Mapping[str, str], scorer: Mapping[str, str]
    ) -> Self:
        """Read the addresses from variables by their names in the lab.

        Args:
            variables: addresses that every program uses.
            consumer: variables of the stream consumer, with its group and thresholds.
            scorer: variables of the risk scoring service, with its group.

        Raises:
            SettingsError: a variable is missing or has a value that is not allowed.
        """
        return cls(
            postgres=PostgresSettings.load(variables),
            kafka=KafkaSettings.load(variables),
            redis=RedisSettings.load(variables),
            objects=ObjectStoreSettings.load(variables),
            iceberg=IcebergSettings.load(variables),
            models=ModelStoreSettings.load(variables),
            mlflow_address=_Mlflow.load(variables).mlflow_tracking_uri,
            api_url=_Api.load(variables).generator_api_url,
            consumer_group=_Group.load(consumer).kafka_consumer_group,
            scorer_group=_Group.load(scorer).kafka_consumer_group,
            rules=TriggerSettings.load(consumer),
        )
