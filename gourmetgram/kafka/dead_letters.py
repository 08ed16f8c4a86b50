"""The one policy for records that cannot be processed."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from confluent_kafka import Producer

from gourmetgram.errors import TransientError
from gourmetgram.events import BadMessage, Record, dead_letter
from gourmetgram.kafka.clients import MAKE_TOPICS
from gourmetgram.kafka.partitions import Partition, Position
from gourmetgram.kafka.publish import Publisher


class RejectedRecord(NamedTuple):
    """A record that cannot be processed, and the reason."""

    record: Record
    bad: BadMessage


class DeadLetterSink(Protocol):
    """Destination of dead letters as a worker sees it; see `DeadLetterTopic`."""

    def publish(self, rejected: Sequence[RejectedRecord]) -> None:
        """Publish the dead letters of these records, except those already confirmed."""

    def settle(self, records: Iterable[Record]) -> None:
        """Drop the state of records whose offsets count as done."""

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop the state of partitions that left this member."""


class DeadLetterTopic:
    """Publishes dead letters, at least once each.

    The policy, the same in every worker:

    1. A record that cannot be processed becomes one dead letter: position, group, error and value as JSON.
    2. `publish` returns once the broker has confirmed all of them. Only then may the offset of a record be committed.
    3. `publish` raises while the topic is missing or the broker is away. The worker keeps the records pending, commits
       nothing beyond them, and calls again with the same records.
    4. A repeated call publishes only records that are not confirmed yet. `settle` drops this state.
    5. A crash between confirmation and commit delivers the record again: its dead letter then exists twice.

    Args:
        create: creates a producer; each failure takes a new one, because the old one may never find a new topic.
        topic: the dead-letter topic.
        group: the consumer group, named in each dead letter.
        timeout_s: longest wait for the broker's confirmation.
    """

    def __init__(self, create: Callable[[], Producer], topic: str, group: str, timeout_s: float) -> None:
        self._publisher = Publisher(create)
        self._topic = topic
        self._group = group
        self._timeout_s = timeout_s
        self._confirmed: set[Position] = set()

    def publish(self, rejected: Sequence[RejectedRecord]) -> None:
        """Publish the dead letters that are not published yet, and wait until the broker has confirmed them.

        Raises:
            TransientError: the broker has not confirmed all; call again with the same records.
        """
        letters = [
            _Letter(self._topic, position, dead_letter(item.record, self._group, item.bad.error))
            for item in rejected
            if (position := Position.of(item.record)) not in self._confirmed
        ]
        if not letters:
            return
        outcome = self._publisher.publish(letters, self._timeout_s)
        self._confirmed.update(letter.position for letter in outcome.confirmed)
        if outcome.unconfirmed:
            failure = outcome.failures.get(self._topic)
            reason = failure.str() if failure else f"the broker did not confirm them within {self._timeout_s:g} s"
            raise TransientError(
                f"{outcome.unconfirmed} dead letters are not published, because topic {self._topic} refuses them: "
                f"{reason}. If the topic is missing, create it with {MAKE_TOPICS}"
            )

    def settle(self, records: Iterable[Record]) -> None:
        """Drop the state of records that will not be passed to `publish` again."""
        self._confirmed.difference_update(map(Position.of, records))

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop the state of partitions that left this member: a topic may be a new one when its partition returns."""
        lost = set(partitions)
        self._confirmed = {position for position in self._confirmed if position.partition not in lost}


class _Letter(NamedTuple):
    topic: str
    position: Position
    value: bytes

    @property
    def key(self) -> None:
        """Dead letters have no key."""
