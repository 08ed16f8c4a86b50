"""Wiring: the one place where this service's parts are built and put together."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gourmetgram.clients.redis import WORKER
from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.database.engines import create_worker_engine
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.dead_letters import DeadLetterTopic
from gourmetgram.observability import HealthServer, ProgressWatch
from risk_scoring_service.decide import Judge, RiskModel
from risk_scoring_service.handlers import Handler
from risk_scoring_service.settings import ScorerSettings
from risk_scoring_service.source import CLIENT_ID, RequestSource
from risk_scoring_service.store import DecisionStore, RedisCounts
from risk_scoring_service.worker import Worker

if TYPE_CHECKING:
    from risk_scoring_service.model_poller import ModelPoller

log = logging.getLogger(__name__)

DEAD_LETTER_TIMEOUT_S = 3.0
"""A broker that does not confirm a dead letter within this time is away; it is published again later."""

FIRST_MODEL_WAIT_S = 5.0
"""Longest wait of the first requests for a model, so that a restart does not use the rules needlessly."""


class ScoringService:
    """The service's parts, started and stopped together.

    Args:
        settings: all settings of the process.
    """

    def __init__(self, settings: ScorerSettings) -> None:
        self._settings = settings
        self._store = DecisionStore(create_worker_engine(settings, "risk-scoring-service"))
        self._windows = RedisCounts(RedisServers.connect(settings, WORKER))
        self._poller = None if settings.inference_mode == "heuristic" else _model_poller(settings)
        judge = Judge(settings.inference_mode, settings.policy_version)
        self._worker = Worker(
            RequestSource(settings, settings.kafka_consumer_group),
            Handler(self._store, self._windows, judge, settings.unknown_image_wait),
            _dead_letters(settings),
            self._store.ping,
            self._model,
            settings.scorer_max_poll_records,
            ProgressWatch(settings.standstill_seconds),
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
        self._health = HealthServer(settings.health_host, settings.health_port, checks, details)

    @property
    def health_port(self) -> int:
        """Port of `/health` and `/metrics`."""
        return self._health.port

    def run(self, stop: threading.Event) -> None:
        """Score until `stop` is set, then leave the group and close the connections.

        A server that is away delays the work, without an error.

        Raises:
            PlatformError: a client is broken for good; only a new process can help.
        """
        self._log_banner()
        self._health.start()
        if self._poller is not None:
            self._poller.start()
            self._poller.wait_for_first_look(FIRST_MODEL_WAIT_S)
        try:
            self._worker.run(stop)
        finally:
            self._close()

    def final_words(self) -> None:
        """Log the end of the process."""
        log.info("Stopped")

    def _close(self) -> None:
        if self._poller is not None:
            self._poller.stop()
        self._health.stop()
        self._windows.close()
        self._store.close()

    def _log_banner(self) -> None:
        """Log the settings of the process, without passwords."""
        settings = self._settings
        log.info("Risk scoring service: policy %s, mode %s", settings.policy_version, settings.inference_mode)
        log.info(
            "Reads %s at %s as %s; counts from Redis %s; stores in PostgreSQL at %s",
            settings.moderation_topic,
            settings.kafka_bootstrap_servers,
            settings.kafka_consumer_group,
            settings.redis_addresses,
            settings.address,
        )

    def _model(self) -> RiskModel | None:
        return None if self._poller is None else self._poller.model


def _dead_letters(settings: ScorerSettings) -> DeadLetterTopic:
    return DeadLetterTopic(
        lambda: create_producer(settings, CLIENT_ID),
        settings.dead_letter_topic,
        settings.kafka_consumer_group,
        DEAD_LETTER_TIMEOUT_S,
    )


def _model_poller(settings: ScorerSettings) -> "ModelPoller":
    # Imported only if a model is needed: numpy and joblib take most of this process's memory.
    from gourmetgram.models.repository import ModelRepository
    from risk_scoring_service.model_poller import ModelPoller

    return ModelPoller(ModelRepository(settings, settings), settings.model_check_interval)
