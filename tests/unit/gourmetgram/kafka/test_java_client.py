"""Options of Kafka's Java client."""

from pathlib import Path

from gourmetgram.kafka.java_client import java_options
from gourmetgram.settings import KafkaSettings


def settings(**values: str) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers="far:9092", **values)


def test_a_plain_broker_needs_no_login() -> None:
    assert java_options(settings()) == {
        "bootstrap.servers": "far:9092",
        "security.protocol": "PLAINTEXT",
        "isolation.level": "read_committed",
    }


def test_authorities_travel_as_text(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    found = java_options(settings(kafka_security_protocol="SSL", kafka_ssl_ca_location=str(tmp_path / "ca.pem")))
    assert found["ssl.truststore.type"] == "PEM"
    assert found["ssl.truststore.certificates"] == "certificates"
    assert "ssl.truststore.type" not in java_options(settings(kafka_security_protocol="SSL"))


def test_quotes_in_a_password_do_not_end_it() -> None:
    found = java_options(
        settings(
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_mechanism="SCRAM-SHA-256",
            kafka_sasl_username="reader",
            kafka_sasl_password='a"b\\c;',
        )
    )
    assert found["sasl.mechanism"] == "SCRAM-SHA-256"
    assert found["sasl.jaas.config"] == (
        'org.apache.kafka.common.security.scram.ScramLoginModule required username="reader" password="a\\"b\\\\c;";'
    )
