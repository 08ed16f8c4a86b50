"""Options of Kafka's Java client, as Spark's executors use it: the same login and the same records as `clients`."""

from pathlib import Path
from typing import Final

from gourmetgram.settings import KafkaSettings

_LOGINS: Final = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def java_options(settings: KafkaSettings) -> dict[str, str]:
    """Options of a consumer.

    Raises:
        FileNotFoundError: the file of the authorities is missing.
    """
    protocol = settings.kafka_security_protocol
    options = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": protocol,
        # The default of librdkafka; that of the Java client also returns records of aborted transactions.
        "isolation.level": "read_committed",
    }
    if protocol.endswith("SSL") and settings.kafka_ssl_ca_location:
        # The text itself: executors on other machines do not have the file. Without it, Java trusts its own list.
        options |= {
            "ssl.truststore.type": "PEM",
            "ssl.truststore.certificates": Path(settings.kafka_ssl_ca_location).read_text(encoding="ascii"),
        }
    if protocol.startswith("SASL"):
        options |= {"sasl.mechanism": settings.kafka_sasl_mechanism, "sasl.jaas.config": _jaas(settings)}
    return options


def _jaas(settings: KafkaSettings) -> str:
    name, password = _quoted(settings.kafka_sasl_username), _quoted(settings.kafka_sasl_password)
    return f"{_LOGINS[settings.kafka_sasl_mechanism]} required username={name} password={password};"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
