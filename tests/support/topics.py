"""Topics that go away and come back while services run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient

from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import ensure_topics
from tests.support.waiting import wait_until


def delete_topic(environment: Mapping[str, str], topic: str) -> None:
    """Delete a topic and wait until the broker has none of this name."""
    admin = AdminClient({"bootstrap.servers": environment["KAFKA_BOOTSTRAP_SERVERS"]})
    admin.delete_topics([topic])[topic].result()
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, 20.0, "the topic to be gone")


def create_topic(environment: Mapping[str, str], topic: str) -> None:
    """Create a topic as `gourmetgram.topics` does."""
    kafka = {name.upper() for name in KafkaSettings.model_fields}
    ensure_topics(KafkaSettings.load({k: v for k, v in environment.items() if k in kafka}), [topic])


@contextmanager
def without_topic(environment: Mapping[str, str], topic: str) -> Iterator[None]:
    """The topic is missing inside, and made anew in the end."""
    delete_topic(environment, topic)
    try:
        yield
    finally:
        create_topic(environment, topic)
