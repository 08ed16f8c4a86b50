"""Clients of a Kafka that asks for TLS and a login: those of the platform, the job, and the lab's script."""

import subprocess
import sys
import uuid

import pytest

from gourmetgram.errors import SettingsError
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.publish import OutgoingMessage
from gourmetgram.kafka.ranges import create_range_reader, held_ranges, read_ranges
from gourmetgram.settings import PROJECT_ROOT, KafkaSettings, process_environment
from gourmetgram.topics import ensure_topics
from tests.support.publishing import publish_all
from tests.support.secured.certificates import Certificates
from tests.support.secured.kafka import MECHANISMS, PASSWORD, SecuredKafka

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_message_is_written_and_read_with_tls_and_a_login(
    secured_kafka: SecuredKafka, certificates: Certificates, mechanism: str
) -> None:
    settings = KafkaSettings.load(secured_kafka.environment(certificates.authority, mechanism))
    topic = f"secured-{uuid.uuid4()}"
    ensure_topics(settings, [topic])
    publish_all(create_producer(settings, "test"), [OutgoingMessage(topic, "key", b"value")])
    reader = create_range_reader(settings, "test", "test")
    try:
        batches = list(read_ranges(reader, held_ranges(reader, [topic])))
    finally:
        reader.close()
    assert [message.value() for batch in batches for message in batch] == [b"value"]


def test_the_job_makes_its_topics_there(secured_kafka: SecuredKafka, certificates: Certificates) -> None:
    topic = f"job-{uuid.uuid4()}"
    environment = {**secured_kafka.environment(certificates.authority), "KAFKA_TOPIC_VIEWS": topic}
    answer = subprocess.run(
        [sys.executable, "-m", "gourmetgram.topics"],
        env={**process_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert topic in answer.stdout + answer.stderr
    assert PASSWORD not in answer.stdout + answer.stderr


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_lab_script_logs_in(secured_kafka: SecuredKafka, certificates: Certificates, mechanism: str) -> None:
    settings = KafkaSettings.load(secured_kafka.environment(certificates.authority, mechanism))
    reader = create_range_reader(settings, "test", "test")

    def written() -> int:
        return sum(held.end for held in held_ranges(reader, ["gourmetgram.views"]).values())

    try:
        before = written()
        answer = subprocess.run(
            [
                *(sys.executable, str(PROJECT_ROOT / "scripts" / "simulate_viral.py"), str(uuid.uuid4())),
                *("--bootstrap", secured_kafka.secured),
            ],
            env={**process_environment(), **secured_kafka.environment(certificates.authority, mechanism)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert written() - before == 110
    finally:
        reader.close()


@pytest.mark.parametrize("missing", ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"])
def test_half_a_login_is_refused_before_a_connection(missing: str) -> None:
    variables = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": "platform",
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    del variables[missing]
    with pytest.raises(SettingsError, match="needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD") as refused:
        KafkaSettings.load(variables)
    assert PASSWORD not in str(refused.value)


def test_the_password_is_in_no_text_of_the_settings() -> None:
    settings = KafkaSettings(
        kafka_security_protocol="SASL_SSL", kafka_sasl_username="platform", kafka_sasl_password=PASSWORD
    )
    assert PASSWORD not in f"{settings} {settings!r}"
