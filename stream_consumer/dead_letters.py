"""What happens to a bad message: it is set aside, counted, and the stream goes on."""

import logging
from collections.abc import Iterable
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from gourmetgram.errors import TransientError
from gourmetgram.events import Record, dead_letter
from stream_consumer import metrics
from stream_consumer.batch import Rejected

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 2.0
_ERRORS_SHOWN: Final = 5

_Place = tuple[str, int, int]


class DeadLetters:
    """Publishes bad messages to the dead-letter topic before their offsets count as applied.

    Args:
        producer: shared with the requests.
        topic: the dead-letter topic.
        group: the consumer group, named in each dead letter.
    """

    def __init__(self, producer: Producer, topic: str, group: str) -> None:
        self._producer = producer
        self._topic = topic
        self._group = group
        # A batch that is tried again (Redis was away) does not send its dead letters again.
        self._sent: set[_Place] = set()
        self._in_flight: set[_Place] = set()

    def set_aside(self, rejected: Iterable[Rejected]) -> None:
        """Publish bad messages and wait until the broker has them.

        Raises:
            TransientError: the broker has not confirmed them; try again with the same messages.
        """
        wanted = {_place(item.record): item for item in rejected}
        for place, item in wanted.items():
            if place not in self._sent and place not in self._in_flight:
                self._publish(place, item)
        if not wanted.keys() <= self._sent:
            self._producer.flush(_TIMEOUT_S)
        missing = len(wanted.keys() - self._sent)
        if missing:
            raise TransientError(f"the broker did not confirm {missing} dead letters")

    def applied(self, rejected: Iterable[Rejected]) -> None:
        """Count bad messages whose offsets are applied: they will not come again."""
        for number, item in enumerate(rejected):
            record = item.record
            self._sent.discard(_place(record))
            metrics.DEAD_LETTERS.labels(record.topic).inc()
            level = logging.WARNING if number < _ERRORS_SHOWN else logging.DEBUG
            log.log(
                level, "Set aside %s/%d at offset %d: %s", record.topic, record.partition, record.offset, item.error
            )

    def _publish(self, place: _Place, item: Rejected) -> None:
        def answered(error: KafkaError | None, _message: Message) -> None:
            self._in_flight.discard(place)
            if error is None:
                self._sent.add(place)
            else:
                log.warning("The broker did not take a dead letter: %s", error.str())

        value = dead_letter(item.record, self._group, item.error)
        while True:
            try:
                self._producer.produce(self._topic, value=value, on_delivery=answered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._in_flight.add(place)
                return


def _place(record: Record) -> _Place:
    return record.topic, record.partition, record.offset
