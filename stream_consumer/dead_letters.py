"""What happens to a bad message: it is set aside, counted, and the stream goes on."""

import logging
from collections.abc import Iterable
from typing import Final

from gourmetgram.events import Record, dead_letter
from gourmetgram.kafka import DeadLetterTopic
from stream_consumer import metrics
from stream_consumer.batch import Rejected

log = logging.getLogger(__name__)

_ERRORS_SHOWN: Final = 5

_Place = tuple[str, int, int]


class DeadLetters:
    """Publishes bad messages to the dead-letter topic before their offsets count as applied.

    Args:
        topic: the dead-letter topic.
        group: the consumer group, named in each dead letter.
    """

    def __init__(self, topic: DeadLetterTopic, group: str) -> None:
        self._topic = topic
        self._group = group
        # A batch that is tried again (Redis was away) does not send its dead letters again.
        self._sent: set[_Place] = set()

    def set_aside(self, rejected: Iterable[Rejected]) -> None:
        """Publish bad messages and wait until the broker has them.

        Raises:
            TransientError: the broker has not confirmed them; try again with the same messages.
        """
        new = {place: item for item in rejected if (place := _place(item.record)) not in self._sent}
        if new:
            self._topic.publish([dead_letter(item.record, self._group, item.error) for item in new.values()])
            self._sent.update(new)

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


def _place(record: Record) -> _Place:
    return record.topic, record.partition, record.offset
