"""Hand-written fakes of the edges of the stream consumer: Kafka, Redis, dead letters."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.dead_letters import RejectedRecord
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.publish import Answered, Publishable
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.kafka.status import PartitionStatus
from stream_consumer.alignment import PartitionLimits
from stream_consumer.batch import BatchCall, EventBatch, SplitCall, build_call
from stream_consumer.continuity import LastRecord
from stream_consumer.pending import PendingRequest
from stream_consumer.source import RebalanceListener
from stream_consumer.store.batches import AppliedBatch
from stream_consumer.store.connection import RedisUnavailableError
from stream_consumer.store.milestones import Milestone
from stream_consumer.store.requests import FrozenContext


class FakeSource:
    """Kafka: records wait in `waiting`; a rebalance comes with the next poll or rest."""

    def __init__(self, high: Mapping[Partition, int]) -> None:
        self.high = dict(high)
        self.assigned: tuple[Partition, ...] = ()
        self.waiting: list[list[Record]] = []
        self.rebalance: Callable[[], None] | None = None
        self.started: list[dict[Partition, int]] = []
        self.commits: list[tuple[dict[Partition, int], bool]] = []
        self.asked_ends: list[set[Partition]] = []
        self.polls: list[float] = []
        self.closed = False
        self.connected = True
        self.group: dict[Partition, int] = {}
        self.log: dict[Partition, dict[int, Record]] = {}
        self._listener: RebalanceListener | None = None

    @property
    def statuses(self) -> Mapping[Partition, PartitionStatus]:
        return {partition: PartitionStatus(0, high, None) for partition, high in self.high.items()}

    def subscribe(self, listener: RebalanceListener) -> None:
        self._listener = listener

    def assign(self, *partitions: Partition) -> None:
        self.assigned = partitions
        assert self._listener is not None
        self._listener.partitions_assigned()

    def revoke(self, lost: bool = False) -> None:
        assert self._listener is not None
        self._listener.partitions_revoked(lost)
        self.assigned = ()

    def committed(self, of: Iterable[Partition]) -> dict[Partition, int | None]:
        return {partition: self.group.get(partition) for partition in of}

    def poll(self, timeout_s: float, at_most: int, at_once: int) -> list[Record]:
        self.polls.append(timeout_s)
        self._rebalance()
        return self.waiting.pop(0) if self.waiting else []

    def rest(self, timeout_s: float) -> None:
        self._rebalance()

    def _rebalance(self) -> None:
        if self.rebalance is not None:
            happen, self.rebalance = self.rebalance, None
            happen()

    def read_from(self, starts: Mapping[Partition, int]) -> None:
        self.started.append(dict(starts))

    def limits(self, of: Sequence[Partition]) -> dict[Partition, PartitionLimits]:
        return {partition: PartitionLimits(0, self.high[partition], "topic:a") for partition in of}

    def since(self, times_us: Mapping[Partition, int]) -> dict[Partition, int]:
        return {
            partition: min(
                (offset for offset, held in self.log.get(partition, {}).items() if held.broker_time_us >= time_us),
                default=self.high.get(partition, 0),
            )
            for partition, time_us in times_us.items()
        }

    def topic_partitions(self, topic: str) -> list[Partition]:
        return [partition for partition in self.log if partition.topic == topic]

    def read(self, ranges: Mapping[Partition, OffsetRange]) -> Iterator[list[Record]]:
        for partition, (start, end) in ranges.items():
            held = self.log.get(partition, {})
            records = [held[offset] for offset in range(start, end) if offset in held]
            if records:
                yield records

    def ends(self, of: Iterable[Partition]) -> dict[Partition, int]:
        asked = set(of)
        self.asked_ends.append(asked)
        return {partition: self.high.get(partition, len(self.log.get(partition, {}))) for partition in asked}

    def known_end(self, partition: Partition) -> int:
        return self.high[partition]

    def commit(self, offsets: Mapping[Partition, int], wait: bool) -> None:
        self.commits.append((dict(offsets), wait))

    def close(self) -> None:
        self.closed = True


class FakeRedis:
    """Redis: offsets, batches and requests of one test. `away` makes every call fail."""

    def __init__(self) -> None:
        self.applied: dict[Partition, int] = {}
        self.named: dict[Partition, str] = {}
        self.last: dict[Partition, LastRecord] = {}
        self.rebuilt: list[BatchCall] = []
        self.batches: list[BatchCall] = []
        self.trimmed: list[str] = []
        self.raise_next: list[PendingRequest] = []
        self.reach_next: list[Milestone] = []
        self.kept: dict[str, PendingRequest] = {}
        self.anchors: list[PendingRequest] = []
        self.frozen: list[str] = []
        self.gone: set[str] = set()
        self.confirmed: list[str] = []
        self.calls: list[str] = []
        self.away = False
        self._sent: BatchCall | None = None

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.away:
            raise RedisUnavailableError("Redis: away")

    def tune(self) -> None:
        self._call("tune")

    def ping(self) -> None:
        self._call("ping")

    def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        self._call("offsets")
        return {partition: self.applied.get(partition) for partition in partitions}

    def origins(self, partitions: Sequence[Partition]) -> dict[Partition, str | None]:
        return {partition: self.named.get(partition) for partition in partitions}

    def last_records(self, partitions: Sequence[Partition]) -> dict[Partition, LastRecord | None]:
        return {partition: self.last.get(partition) for partition in partitions}

    def rebuild(self, call: BatchCall) -> bool:
        self._call("rebuild")
        self.rebuilt.append(call)
        return True

    def start(self, offsets: Mapping[Partition, int], origins: Mapping[Partition, str]) -> None:
        self.applied.update(offsets)
        self.named.update(origins)

    @property
    def in_flight(self) -> bool:
        return self._sent is not None

    def build(
        self, batch: EventBatch, positions: Mapping[Partition, tuple[int, int]], horizons: Mapping[int, int]
    ) -> SplitCall:
        return SplitCall(batch, {0: build_call(batch, positions, horizons)})

    def send(self, call: SplitCall) -> None:
        self._call("send")
        assert self._sent is None
        self._sent = call.parts[0]

    def receive(self) -> AppliedBatch | None:
        assert self._sent is not None
        call, self._sent = self._sent, None
        self._call("receive")
        if any(self.applied.get(partition) != before for partition, (before, _) in call.positions.items()):
            return None
        self.applied.update({partition: after for partition, (_, after) in call.positions.items()})
        self.batches.append(call)
        alerts, self.raise_next = self.raise_next, []
        milestones, self.reach_next = self.reach_next, []
        self.kept.update({alert.identity: alert for alert in alerts if alert.sends_request})
        totals = [group.last - group.first + 1 for group in call.groups]
        return AppliedBatch(call.batch, call.groups, totals, alerts, milestones, 0, [])

    def abandon(self) -> None:
        self._sent = None

    def trim(self, images: Sequence[str]) -> None:
        self._call("trim")
        self.trimmed += images

    def pending(self, numbers: Iterable[int]) -> list[PendingRequest]:
        self._call("pending")
        return [request for request in self.kept.values() if request.partition in set(numbers)]

    def due_anchors(self, numbers: Sequence[int], now_us: int) -> list[PendingRequest]:
        self._call("due_anchors")
        return [anchor for anchor in self.anchors if anchor.partition in numbers and anchor.time_us <= now_us]

    def freeze(
        self, requests: Sequence[PendingRequest], topics: Mapping[int, Sequence[Partition]]
    ) -> list[FrozenContext]:
        self._call("freeze")
        self.frozen += [request.identity for request in requests]
        return [
            FrozenContext(None, gone=True)
            if request.identity in self.gone
            else FrozenContext({"views_5min": 1}, gone=False)
            for request in requests
        ]

    def confirm(self, requests: Iterable[PendingRequest]) -> None:
        self._call("confirm")
        for request in requests:
            self.confirmed.append(request.identity)
            self.kept.pop(request.identity, None)


class FakePublisher:
    """The producer: what is sent stays in `sent` until `answer`."""

    def __init__(self) -> None:
        self.sent: list[tuple[Publishable, Answered]] = []
        self.values: list[bytes] = []
        self.refuse = False
        self.answer_at_once = False
        self.served = 0

    def send(self, message: Publishable, answered: Answered) -> None:
        if self.refuse:
            raise TransientError("topic requests does not take it")
        self.sent.append((message, answered))
        self.values.append(message.value)

    def serve(self) -> None:
        self.served += 1
        if self.answer_at_once:
            self.answer()

    def flush(self, timeout_s: float) -> None:
        self.answer()

    def answer(self, error: KafkaError | None = None) -> None:
        sent, self.sent = self.sent, []
        for _, answered in sent:
            message: Any = None  # not looked at
            answered(error, message)


class FakeDeadLetters:
    """The dead-letter topic."""

    def __init__(self) -> None:
        self.published: list[RejectedRecord] = []
        self.settled: list[Record] = []
        self.forgotten: list[Partition] = []
        self.missing = False

    def publish(self, rejected: Sequence[RejectedRecord]) -> None:
        if rejected and self.missing:
            raise TransientError("the dead-letter topic is missing")
        self.published += rejected

    def settle(self, records: Iterable[Record]) -> None:
        self.settled += records

    def forget(self, partitions: Iterable[Partition]) -> None:
        self.forgotten += partitions
