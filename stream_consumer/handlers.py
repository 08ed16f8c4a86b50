"""Handling of batches: from records to one call of Redis, and from its answer to new requests and milestones."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from gourmetgram.events import Record
from gourmetgram.kafka.dead_letters import DeadLetterSink
from gourmetgram.kafka.partitions import Partition
from stream_consumer import metrics
from stream_consumer.batch import EventBatch, SplitCall, read_batch
from stream_consumer.progress import StreamProgress
from stream_consumer.requests import RequestPipeline
from stream_consumer.retention import WindowRetention
from stream_consumer.store.batches import AppliedBatch


class BatchApplier(Protocol):
    """Applies batches in Redis, one at a time; see `ServerBatches`."""

    @property
    def in_flight(self) -> bool:
        """True from `send` to `receive` or `abandon`."""

    def build(
        self, batch: EventBatch, positions: Mapping[Partition, tuple[int, int]], horizons: Mapping[int, int]
    ) -> SplitCall:
        """Form the calls of a batch."""

    def send(self, call: SplitCall) -> None:
        """Send a batch without waiting for the answer."""

    def receive(self) -> AppliedBatch | None:
        """Wait for the answer; None when Redis has other offsets than expected."""

    def abandon(self) -> None:
        """Give up the answer."""


class BatchHandler:
    """Prepares and applies batches: `prepare` the next one, `receive` the one before, `send` the next one.

    Args:
        store: applies batches.
        progress: positions of this process.
        dead_letters: takes malformed messages.
        retention: keeps windows for unread events.
        requests: takes the requests that a batch raises.
        on_milestones: called when a batch reached milestones.
        servers: number of Redis servers.
    """

    def __init__(
        self,
        store: BatchApplier,
        progress: StreamProgress,
        dead_letters: DeadLetterSink,
        retention: WindowRetention,
        requests: RequestPipeline,
        on_milestones: Callable[[], None],
        servers: int = 1,
    ) -> None:
        self._store = store
        self._progress = progress
        self._dead_letters = dead_letters
        self._retention = retention
        self._requests = requests
        self._on_milestones = on_milestones
        self._servers = servers
        self._sent_at = 0.0

    @property
    def in_flight(self) -> bool:
        """True while Redis works on a batch."""
        return self._store.in_flight

    def prepare(self, records: Sequence[Record]) -> SplitCall | None:
        """Parse a batch, publish its dead letters, and form the call. The batch before may still be in flight.

        Returns:
            The call, or None when the records do not continue those that were read: the worker must align.

        Raises:
            TransientError: the broker has not confirmed the dead letters.
        """
        batch = read_batch(records, self._servers)
        if not self._progress.follows(batch.spans):
            return None
        self._dead_letters.publish(batch.rejected)
        positions = self._progress.read_on(batch.spans)
        horizons = self._retention.horizons({partition.number for partition in batch.spans})
        self._retention.hold(batch.eligible, horizons)
        return self._store.build(batch, positions, horizons)

    def send(self, call: SplitCall) -> None:
        """Send a batch to Redis: events, offsets, alerts and requests change together, or not at all.

        Raises:
            RedisUnavailableError: Redis is away.
        """
        self._store.send(call)
        self._sent_at = time.perf_counter()

    def receive(self) -> AppliedBatch | None:
        """Wait until the batch in flight is applied, and update the memory of this process.

        Returns:
            The changes. None when Redis has other offsets than this process: nothing has changed, and the worker must
            align.

        Raises:
            RedisUnavailableError: no answer. The offsets in Redis show if the batch is applied.
        """
        applied = self._store.receive()
        if applied is None:
            return None
        self._progress.apply_on(applied.batch.spans)
        self._dead_letters.settle(item.record for item in applied.batch.rejected)
        self._requests.add(alert for alert in applied.alerts if alert.sends_request)
        if applied.milestones:
            self._on_milestones()
        metrics.BATCH_SECONDS.observe(time.perf_counter() - self._sent_at)
        return applied

    def abandon(self) -> None:
        """Give up the batch in flight, if there is one. The offsets in Redis show if it is applied."""
        self._store.abandon()

    def forget(self) -> None:
        """Drop the partitions that this process reads: another process may read them now."""
        self._dead_letters.forget(self._progress.applied)
        self._retention.forget()
        self._requests.drop()
        self._progress.restart({}, {})
