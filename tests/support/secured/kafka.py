"""Kafka with a listener for clients that need TLS and a login."""

from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from gourmetgram.kafka.clients import client_config
from gourmetgram_tools.local.kafka import Kafka
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.ports import choose_free
from gourmetgram_tools.local.progress import StepReport
from tests.support.secured.certificates import Certificate

USER = "platform"
PASSWORD = "kafka-secret-of-a-test"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_MODULES = {"PLAIN": "plain.PlainLoginModule"}
_SCRAM = "scram.ScramLoginModule"


class SecuredKafka(Kafka):
    """Kafka of the local stack, with one more listener: SASL_SSL.

    Args:
        layout: paths of the server.
        cache: folder of programs that are fetched once.
        certificate: certificate of the listener.
    """

    def __init__(self, layout: Layout, cache: Path, certificate: Certificate) -> None:
        free = choose_free()
        super().__init__(layout, free.kafka, free.kafka_controller, cache)
        self._secured_port = free.minio_console
        self._certificate = certificate

    @property
    def secured(self) -> str:
        """Address of the secured listener."""
        return f"localhost:{self._secured_port}"

    def _properties(self, data: Path) -> str:
        lines = dict(line.split("=", 1) for line in super()._properties(data).splitlines())
        lines["listeners"] += f",SECURED://127.0.0.1:{self._secured_port}"
        lines["advertised.listeners"] += f",SECURED://{self.secured}"
        lines["listener.security.protocol.map"] += ",SECURED:SASL_SSL"
        # Alone with the broker: it starts before any login of SCRAM exists.
        lines.update(self._secured_listener())
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def _secured_listener(self) -> Mapping[str, str]:
        prefix = "listener.name.secured"
        login = f'required user_{USER}="{PASSWORD}";'
        modules = {m: f"org.apache.kafka.common.security.{_MODULES.get(m, _SCRAM)}" for m in MECHANISMS}
        return {
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            f"{prefix}.ssl.keystore.type": "PEM",
            f"{prefix}.ssl.keystore.location": str(self._certificate.both),
            **{
                f"{prefix}.{name.lower()}.sasl.jaas.config": f"{module} {login if name == 'PLAIN' else 'required;'}"
                for name, module in modules.items()
            },
        }

    def initialise(self, report: StepReport) -> None:
        """Create the topics, and the logins of SCRAM."""
        super().initialise(report)
        with AdminClient(client_config(self._settings, "test")) as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                change = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
                for answer in admin.alter_user_scram_credentials([change]).values():
                    answer.result(10)

    def environment(self, authority: Path, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """Variables of `KafkaSettings` for a client of the secured listener."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.secured,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": PASSWORD,
            "KAFKA_SSL_CA_LOCATION": str(authority),
        }
