"""What happens to a bad message: it is set aside, counted, and the stream goes on."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from gourmetgram.events import BadMessage
from gourmetgram.kafka.dead_letters import DeadLetterSink, RejectedRecord
from stream_consumer import metrics
from stream_consumer.batch import Rejected

log = logging.getLogger(__name__)

_ERRORS_SHOWN: Final = 5


class DeadLetters:
    """Publishes bad messages to the dead-letter topic before their offsets count as applied.

    Args:
        topic: the dead-letter topic.
    """

    def __init__(self, topic: DeadLetterSink) -> None:
        self._topic = topic

    def set_aside(self, rejected: Iterable[Rejected]) -> None:
        """Publish bad messages and wait until the broker has them.

        Raises:
            TransientError: the broker has not confirmed them; try again with the same messages.
        """
        self._topic.publish([RejectedRecord(item.record, BadMessage(item.error)) for item in rejected])

    def applied(self, rejected: Sequence[Rejected]) -> None:
        """Count bad messages whose offsets are applied: they will not come again."""
        self._topic.settle(item.record for item in rejected)
        for number, item in enumerate(rejected):
            record = item.record
            metrics.DEAD_LETTERS.labels(record.topic).inc()
            level = logging.WARNING if number < _ERRORS_SHOWN else logging.DEBUG
            log.log(
                level, "Set aside %s/%d at offset %d: %s", record.topic, record.partition, record.offset, item.error
            )
