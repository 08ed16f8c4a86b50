"""Messages that a test publishes, each confirmed by the broker."""

from collections.abc import Iterable

from confluent_kafka import Producer

from gourmetgram.kafka.publish import OutgoingMessage, Publisher


def publish_all(producer: Producer, messages: Iterable[OutgoingMessage]) -> None:
    """Publish messages in order, and fail unless the broker has confirmed all of them."""
    outcome = Publisher(lambda: producer).publish(messages, timeout_s=30.0)
    assert not outcome.unconfirmed, outcome.failures
