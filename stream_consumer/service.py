"""Wiring: the one place where this service's parts are built and put together."""

import logging
import threading
from typing import Final

from gourmetgram.clients.redis import WORKER
from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.database.engines import create_worker_engine
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.dead_letters import DeadLetterTopic
from gourmetgram.kafka.publish import Publisher
from gourmetgram.kafka.status import BrokerWatch
from gourmetgram.moments import HOUR_US
from gourmetgram.observability import HealthServer
from stream_consumer.alignment import Alignment
from stream_consumer.broker import BrokerOffsets
from stream_consumer.commits import CommitMirror
from stream_consumer.handlers import BatchHandler
from stream_consumer.health import ConsumerHealth
from stream_consumer.milestones import MilestoneWriter
from stream_consumer.progress import StreamProgress
from stream_consumer.reader import RangeReader
from stream_consumer.recovery import Recovery
from stream_consumer.report import ConsumerReport
from stream_consumer.requests import RequestPipeline
from stream_consumer.retention import WindowRetention
from stream_consumer.settings import ConsumerSettings
from stream_consumer.source import CLIENT_ID, EventSource
from stream_consumer.store.milestones import MilestoneStore
from stream_consumer.store.offsets import OffsetStore
from stream_consumer.store.requests import RequestStore
from stream_consumer.store.scripts import vocabulary
from stream_consumer.store.servers import ServerBatches
from stream_consumer.worker import StreamWorker

log = logging.getLogger(__name__)

_DEAD_LETTER_TIMEOUT_S: Final = 2.0
_LAST_MILESTONES_S: Final = 1.0


class StreamConsumer:
    """The service's parts, started and stopped together.

    Args:
        settings: all settings of the process.
    """

    def __init__(self, settings: ConsumerSettings) -> None:
        self._redis = RedisServers.connect(settings, WORKER)
        words = vocabulary(settings, settings.consumer_dedup_hours)
        batches = ServerBatches(self._redis, words)
        progress = StreamProgress()
        self._source = EventSource(settings)
        self._broker = BrokerOffsets(settings, CLIENT_ID, len(self._redis))
        self._reader = RangeReader(settings, CLIENT_ID, f"{settings.kafka_consumer_group}-ranges")
        self._report = ConsumerReport(settings, progress, batches.window_counts)
        self._engine = create_worker_engine(
            settings, "stream_consumer", pool_size=1, statement_timeout_ms=5_000, lock_timeout_ms=2_000
        )
        self._milestones = MilestoneWriter(MilestoneStore(self._redis), self._engine)
        watch = BrokerWatch()
        retention = WindowRetention(progress, self._source, batches)
        requests = RequestPipeline(
            RequestStore(self._redis, words),
            self._broker,
            progress,
            Publisher(lambda: create_producer(settings, CLIENT_ID, **watch.config())),
            settings.moderation_topic,
            retention,
            self._report.request_sent,
        )
        health = ConsumerHealth(lambda: self._source.connected, settings.standstill_seconds)
        alignment = Alignment(
            self._source,
            self._broker,
            self._reader,
            OffsetStore(self._redis),
            progress,
            settings.consumer_dedup_hours * HOUR_US,
        )
        self._worker = StreamWorker(
            settings,
            self._source,
            alignment,
            Recovery(self._broker, self._reader, batches, retention, requests, progress, settings.moderation_topic),
            BatchHandler(
                batches,
                progress,
                _dead_letters(settings),
                retention,
                requests,
                self._milestones.wake,
                len(self._redis),
            ),
            requests,
            self._report,
            CommitMirror(self._source, progress, requests),
            retention,
            health,
            watch,
        )
        self._health = HealthServer(settings.health_host, settings.health_port, health.checks(), health.details())
        self._finished = False

    @property
    def health_port(self) -> int:
        """Port of `/health` and `/metrics`."""
        return self._health.port

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then finish the batch in flight, commit, and leave the group.

        Raises:
            PlatformError: a client is broken for good; only a new process can help.
        """
        self._report.banner()
        self._health.start()
        self._milestones.start()
        self._worker.run(stop)
        self._milestones.stop(_LAST_MILESTONES_S)
        self._broker.close()
        self._reader.close()
        self._health.stop()
        self._engine.dispose()
        self._redis.close()
        self.final_statistics()

    def final_statistics(self) -> None:
        """Log the totals of this process, once."""
        if not self._finished:
            self._finished = True
            self._report.final_statistics()


def _dead_letters(settings: ConsumerSettings) -> DeadLetterTopic:
    return DeadLetterTopic(
        lambda: create_producer(settings, f"{CLIENT_ID}-dead-letters"),
        settings.dead_letter_topic,
        settings.kafka_consumer_group,
        _DEAD_LETTER_TIMEOUT_S,
    )
