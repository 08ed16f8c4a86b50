"""Consumed messages as records."""

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from gourmetgram.events import Record


def to_record(message: Message) -> Record:
    """Position, broker time and bytes of a consumed message without an error."""
    timestamp_type, milliseconds = message.timestamp()
    # The client's types allow None for messages that were never in Kafka; a consumed message has all fields.
    return Record(
        message.topic(),  # type: ignore[arg-type]
        message.partition(),  # type: ignore[arg-type]
        message.offset(),  # type: ignore[arg-type]
        0 if timestamp_type == TIMESTAMP_NOT_AVAILABLE else milliseconds * 1000,
        message.value(),
    )
