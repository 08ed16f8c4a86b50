"""A broker and a consumer group in memory, whose deliveries, deaths and rebalances a test chooses."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from confluent_kafka import KafkaError, Message

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.publish import Answered, Publishable
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.kafka.status import PartitionStatus
from stream_consumer.alignment import PartitionLimits
from stream_consumer.source import RebalanceListener

REQUESTS = Partition("requests", 0)
UNKNOWN = -1001


class MemoryBroker:
    """Logs, committed offsets, and one group with range assignment: a member has a number in every topic.

    Attributes:
        log: records by partition; a record's offset is its place.
        committed: offsets that the group has committed.
        now_us: clock of the broker.
        stores: False while the broker refuses requests.
        confirms: False while it stores requests without an answer.
    """

    def __init__(self, topics: Iterable[str], numbers: Sequence[int]) -> None:
        self.topics, self.numbers = list(topics), list(numbers)
        self.log: dict[Partition, list[Record]] = {
            Partition(topic, number): [] for topic in self.topics for number in numbers
        }
        self.log[REQUESTS] = []
        self.committed: dict[Partition, int] = {}
        self.now_us = 0
        self.stores = self.confirms = True
        self.members: list[Member] = []

    def append(self, partition: Partition, value: bytes) -> Record:
        """Store a record."""
        records = self.log[partition]
        records.append(Record(*partition, len(records), self.now_us, value))
        return records[-1]

    # --- the group ---------------------------------------------------------------------------------------------------

    def rebalance(self, remove: "Member | None" = None, shift: int = 0) -> None:
        """Begin a new generation: all members give up their partitions, and then each gets new ones.

        Args:
            remove: a member that is dead or silent.
            shift: number of places by which the assignment moves on.
        """
        self.members = [member for member in self.members if member is not remove]
        self.members = self.members[shift:] + self.members[:shift]
        for member in self.members:
            member.joined, member.due = False, None

    def join(self, member: "Member") -> None:
        """A member has given up its partitions. With the last one, each gets its numbers."""
        member.joined = True
        if all(each.joined for each in self.members):
            for place, each in enumerate(self.members):
                numbers = self.numbers[place :: len(self.members)]
                each.due = tuple(sorted(Partition(topic, number) for topic in self.topics for number in numbers))

    # --- requests of `BrokerOffsets` and `RangeReader` -----

    def limits(self, of: Sequence[Partition]) -> dict[Partition, PartitionLimits]:
        return {partition: PartitionLimits(0, len(self.log[partition]), "topic:a") for partition in of}

    def ends(self, of: Iterable[Partition]) -> dict[Partition, int]:
        return {partition: len(self.log[partition]) for partition in of}

    def since(self, times_us: Mapping[Partition, int]) -> dict[Partition, int]:
        return {
            partition: sum(record.broker_time_us < time_us for record in self.log[partition])
            for partition, time_us in times_us.items()
        }

    def topic_partitions(self, topic: str) -> list[Partition]:
        return [partition for partition in self.log if partition.topic == topic]

    def read(self, ranges: Mapping[Partition, OffsetRange]) -> Iterator[list[Record]]:
        for partition, (start, end) in ranges.items():
            if start < end:
                yield self.log[partition][start:end]


class Member:
    """A member of the group, in the place of `EventSource`, and its producer, in the place of `Publisher`.

    Attributes:
        amounts: number of records that the next poll delivers from each topic.
    """

    connected = True
    statuses: Mapping[Partition, PartitionStatus] = {}

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self.broker, self.requests_topic = broker, topic
        self.assigned: tuple[Partition, ...] = ()
        self.joined = False
        self.due: tuple[Partition, ...] | None = None
        self.amounts: dict[str, int] = {}
        self._listener: RebalanceListener | None = None
        self._next: dict[Partition, int] = {}
        self._known: dict[Partition, int] = defaultdict(lambda: UNKNOWN)
        self._unanswered: list[Callable[[Message], None]] = []

    def subscribe(self, listener: RebalanceListener) -> None:
        """Join the group."""
        self._listener = listener
        self._join_group()

    def poll(self, timeout_s: float, at_most: int, at_once: int) -> list[Record]:
        self._follow_group()
        found: list[Record] = []
        for partition in sorted(self._next):
            log = self.broker.log[partition]
            self._known[partition] = len(log)
            first = self._next[partition]
            last = min(first + self.amounts.get(partition.topic, 0), len(log), first + at_most - len(found))
            found += log[first:last]
            self._next[partition] = last
        return found

    def rest(self, timeout_s: float) -> None:
        self._next = {}
        self._follow_group()

    def read_from(self, starts: Mapping[Partition, int]) -> None:
        self._next = dict(starts)

    def committed(self, of: Sequence[Partition]) -> dict[Partition, int | None]:
        return {partition: self.broker.committed.get(partition) for partition in of}

    def known_end(self, partition: Partition) -> int:
        return self._known[partition]

    def commit(self, offsets: Mapping[Partition, int], wait: bool) -> None:
        if self in self.broker.members and set(offsets) <= set(self.assigned):
            self.broker.committed.update(offsets)
        elif wait:
            raise TransientError("the group has another generation")

    def close(self) -> None:
        self.broker.rebalance(remove=self)

    def _join_group(self) -> None:
        self.broker.members.append(self)
        self.broker.rebalance()

    def _follow_group(self) -> None:
        assert self._listener is not None
        if self not in self.broker.members:
            self._give_up(self._listener.partitions_revoked, lost=True)
            self._join_group()
        if not self.joined:
            self._give_up(self._listener.partitions_revoked, lost=False)
            self.broker.join(self)
        if self.due is not None:
            self.assigned, self.due = self.due, None
            self._next = {}
            self._listener.partitions_assigned()

    def _give_up(self, revoked: Callable[[bool], None], lost: bool) -> None:
        if self.assigned:
            revoked(lost)
        self.assigned, self._next = (), {}

    # --- the producer -----

    def send(self, message: Publishable, answered: Answered) -> None:
        error = None if self.broker.stores else KafkaError(KafkaError._MSG_TIMED_OUT)
        if error is None:
            self.broker.append(REQUESTS, message.value)
        self._unanswered.append(partial(answered, error))

    def serve(self) -> None:
        if self.broker.confirms:
            self.flush(0.0)

    def flush(self, timeout_s: float) -> None:
        if self.broker.confirms:
            unanswered, self._unanswered = self._unanswered, []
            for answer in unanswered:
                answer(None)  # type: ignore[arg-type]  # the message is not looked at
