"""Configured Kafka clients of all services.

All use confluent-kafka: about ten times the throughput of kafka-python on the same machine.
"""

from typing import Final

from confluent_kafka import Consumer, Producer

from gourmetgram.settings import KafkaSettings

PARTITIONER: Final = "murmur2_random"
"""Partitioner of every producer: an image has the same partition number in every topic (rule 9 of docs/rules.md)."""

MAKE_TOPICS: Final = "`python -m gourmetgram.topics` (Compose: `docker compose up redpanda-init`)"
"""Commands that create missing topics, for messages to people."""


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, str | int | float | bool]:
    """Configuration shared by producers, consumers and admin clients."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": client_id,
        # A broker that returns is found within a second or two; the default backoff takes up to ten.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2000,
        "socket.keepalive.enable": True,
        # The broker may run on localhost, where IPv6 may be missing.
        "broker.address.family": "v4",
        "log_level": 3,
        **_security(settings),
    }


def _security(settings: KafkaSettings) -> dict[str, str]:
    """Options for TLS and for the login."""
    protocol = settings.kafka_security_protocol
    options: dict[str, str] = {"security.protocol": protocol}
    if protocol.endswith("SSL"):
        # "probe" finds the operating system's authorities: the client has a TLS library of its own.
        options["ssl.ca.location"] = settings.kafka_ssl_ca_location or "probe"
    if protocol.startswith("SASL"):
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password,
        }
    return options


def create_producer(settings: KafkaSettings, client_id: str, **overrides: object) -> Producer:
    """Create an idempotent producer (acks=all) that chooses partitions by murmur2 of the key.

    Within one session it neither loses nor repeats a message.
    """
    return Producer(
        {
            **client_config(settings, client_id),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": settings.kafka_compression,
            "partitioner": PARTITIONER,
            # Batches form while the previous request is in flight; a linger time would only add latency.
            "linger.ms": 0,
            **overrides,
        }
    )


def create_consumer(settings: KafkaSettings, client_id: str, group: str, **overrides: object) -> Consumer:
    """Create a consumer that commits only on request and starts a new group at the earliest record.

    Range assignment gives a member the same partition numbers of every topic, so it reads all events of an image.
    """
    return Consumer(
        {
            **client_config(settings, client_id),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 2_000,
            "fetch.wait.max.ms": 100,
            # Bounds the memory of a replica that reads a long backlog.
            "queued.max.messages.kbytes": 32_768,
            **overrides,
        }
    )
