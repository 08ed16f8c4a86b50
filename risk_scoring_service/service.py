"""Wiring: the one place where this service's parts are built and put together."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gourmetgram.clients import redis
from gourmetgram.database.engines import create_worker_engine
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.dead_letters import DeadLetterTopic
from gourmetgram.observability import HealthServer, ProgressWatch
from gourmetgram.settings import KafkaSettings, ObjectStoreSettings, PostgresSettings, RedisSettings
from risk_scoring_service.decide import Judge, RiskModel
from risk_scoring_service.handlers import Handler
from risk_scoring_service.settings import ScorerHealthSettings, ScorerSettings
from risk_scoring_service.source import CLIENT_ID, RequestSource
from risk_scoring_service.store import DecisionStore, WindowStore
from risk_scoring_service.worker import Worker

if TYPE_CHECKING:
    from risk_scoring_service.model_poller import ModelPoller

log = logging.getLogger(__name__)

DEAD_LETTER_TIMEOUT_S = 3.0
"""A broker that does not confirm a dead letter within this time is away; it is published again later."""

FIRST_MODEL_WAIT_S = 5.0
"""The first requests wait this long for a model, so that a restart does not fall back to the rules needlessly."""


@dataclass(frozen=True)
class Configuration:
    """All settings of the process."""

    scorer: ScorerSettings
    health: ScorerHealthSettings
    kafka: KafkaSettings
    postgres: PostgresSettings
    redis: RedisSettings
    object_store: ObjectStoreSettings

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> "Configuration":
        """Read all settings.

        Raises:
            SettingsError: one is missing or wrong.
        """
        return cls(
            ScorerSettings.load(environment),
            ScorerHealthSettings.load(environment),
            KafkaSettings.load(environment),
            PostgresSettings.load(environment),
            RedisSettings.load(environment),
            ObjectStoreSettings.load(environment),
        )

    def log_banner(self) -> None:
        """Say what runs, without passwords."""
        log.info("Risk scoring service: policy %s, mode %s", self.scorer.policy_version, self.scorer.inference_mode)
        log.info(
            "Reads %s at %s as %s; counts from Redis %s:%d/%d; stores in PostgreSQL at %s",
            self.kafka.moderation_topic,
            self.kafka.kafka_bootstrap_servers,
            self.scorer.kafka_consumer_group,
            self.redis.redis_host,
            self.redis.redis_port,
            self.redis.redis_db,
            self.postgres.database_url.rpartition("@")[2],
        )


class ScoringService:
    """The service's parts, started and stopped together."""

    def __init__(self, configuration: Configuration) -> None:
        scorer, health = configuration.scorer, configuration.health
        self._store = DecisionStore(create_worker_engine(configuration.postgres, "risk-scoring-service"))
        self._windows = WindowStore(redis.connect(configuration.redis, redis.WORKER))
        self._poller = None if scorer.inference_mode == "heuristic" else _model_poller(configuration)
        judge = Judge(scorer.inference_mode, scorer.policy_version)
        self._worker = Worker(
            RequestSource(configuration.kafka, scorer.kafka_consumer_group),
            Handler(self._store, self._windows, judge, scorer.unknown_image_wait),
            _dead_letters(configuration),
            self._store.ping,
            self._model,
            scorer.scorer_max_poll_records,
            ProgressWatch(health.standstill_seconds),
        )
        checks = {
            "postgres": self._worker.postgres_healthy,
            "kafka": self._worker.kafka_healthy,
            "loop": self._worker.moving,
            "progress": self._worker.progressing,
        }
        details: dict[str, Callable[[], object]] = {"waiting_for": lambda: self._worker.waiting_for}
        if self._poller is not None:
            details["model"] = self._poller.status
        self.health = HealthServer(health.health_host, health.health_port, checks, details)

    def start(self) -> None:
        """Begin to answer health requests and to look for models."""
        self.health.start()
        if self._poller is not None:
            self._poller.start()

    def run(self, stop: threading.Event) -> None:
        """Score until told to stop. Servers that are away are waited for."""
        if self._poller is not None:
            self._poller.wait_for_first_look(FIRST_MODEL_WAIT_S)
        self._worker.run(stop)

    def close(self) -> None:
        """Stop what `start` began, and close the connections."""
        if self._poller is not None:
            self._poller.stop()
        self.health.stop()
        self._windows.close()
        self._store.close()

    def _model(self) -> RiskModel | None:
        return None if self._poller is None else self._poller.model


def _dead_letters(configuration: Configuration) -> DeadLetterTopic:
    return DeadLetterTopic(
        lambda: create_producer(configuration.kafka, CLIENT_ID),
        configuration.kafka.dead_letter_topic,
        configuration.scorer.kafka_consumer_group,
        DEAD_LETTER_TIMEOUT_S,
    )


def _model_poller(configuration: Configuration) -> "ModelPoller":
    # Imported only where a model is asked for: numpy and joblib are most of this process's memory.
    from gourmetgram.models.repository import ModelRepository
    from risk_scoring_service.model_poller import ModelPoller

    scorer = configuration.scorer
    repository = ModelRepository(configuration.object_store, scorer.model_bucket, scorer.model_prefix)
    return ModelPoller(repository, scorer.model_check_interval)
