"""Apache Kafka 4.1 (KRaft: broker and controller in one process), from its Maven coordinates."""

import base64
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from gourmetgram.kafka import client_config
from gourmetgram.local import kafka_jars, ports, toolchain
from gourmetgram.local.component import Component, Program
from gourmetgram.local.errors import StackError
from gourmetgram.local.layout import Layout, replace_file
from gourmetgram.local.progress import Report
from gourmetgram.settings import KafkaSettings, process_environment
from gourmetgram.topics import ensure_topics

_RETENTION_MS = 30 * 24 * 3600 * 1000


class Kafka(Component):
    """The broker.

    Args:
        layout: the stack's places.
        port: client port, advertised as localhost.
        controller_port: port of the KRaft controller, used by the broker itself only.
        cache: folder of programs that are fetched once.
    """

    name = "kafka"
    title = "Kafka"
    contents = "topics"

    def __init__(self, layout: Layout, port: int, controller_port: int, cache: Path) -> None:
        self._folder = layout.folder / "kafka"
        self._port = port
        self._controller_port = controller_port
        self._cache = cache

    @property
    def ports(self) -> Mapping[str, int]:
        """Client port and controller port."""
        return {"Kafka": self._port, "Kafka's controller": self._controller_port}

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to; equal to what the broker advertises."""
        return f"localhost:{self._port}"

    @property
    def _settings(self) -> KafkaSettings:
        return KafkaSettings(kafka_bootstrap_servers=self.bootstrap_servers)

    @property
    def _config(self) -> Path:
        return self._folder / "server.properties"

    def _java(self, *options: str) -> tuple[str, ...]:
        classpath = str(kafka_jars.folder(self._cache) / "*")
        return (str(toolchain.find_java()), *options, "-cp", classpath)

    def obtain(self, report: Report) -> None:
        """Fetch the jars once for all stacks."""
        with toolchain.exclusive(self._cache / "kafka.lock"):
            if kafka_jars.folder(self._cache).exists():
                return
            report("fetching its jars (about half a minute, the first time only)")
            answer = subprocess.run(
                [sys.executable, "-m", kafka_jars.__name__, str(self._cache)],
                env=_with_system_certificates(process_environment()),
                capture_output=True,
                text=True,
                check=False,
            )
            if answer.returncode != 0:
                raise StackError(f"Kafka's jars could not be fetched: {_last_line(answer.stderr)}")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _topics_mark(self) -> Path:
        return self._folder / "topics-created"

    @property
    def has_topics(self) -> bool:
        """Whether the topics were created in an earlier start."""
        return self._topics_mark.exists()

    def prepare(self, report: Report) -> None:
        """Write the configuration and format the storage, in a temporary place first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._config, self._properties(self._data))
        if self._data.exists():
            return
        report("formatting its storage")
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        config = self._folder / "format.properties"
        config.write_text(self._properties(fresh), encoding="utf-8")
        self._format(config)
        config.unlink()
        fresh.rename(self._data)

    def _format(self, config: Path) -> None:
        answer = subprocess.run(
            [
                *self._java("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
                *("kafka.tools.StorageTool", "format", "--standalone"),
                *("--cluster-id", new_cluster_id(), "--config", str(config)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            raise StackError(f"Kafka's storage could not be formatted: {(answer.stderr or answer.stdout).strip()}")

    def _properties(self, data: Path) -> str:
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"CLIENT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": (f"CLIENT://localhost:{self._port},CONTROLLER://localhost:{self._controller_port}"),
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"localhost:{self._controller_port}",
            "log.dirs": data,
            "auto.create.topics.enable": "false",
            "num.partitions": 4,
            "default.replication.factor": 1,
            "log.retention.ms": _RETENTION_MS,
            # Kafka's internal topics: one broker, and as few partitions as a few groups need.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            # Offsets of a group that is away live as long as the records they point to.
            "offsets.retention.minutes": _RETENTION_MS // 60_000,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 4,
            # A single consumer need not wait for companions before it gets its partitions.
            "group.initial.rebalance.delay.ms": 0,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def program(self) -> Program:
        """One JVM with at most 400 MB of heap."""
        return Program(
            command=(
                *self._java(
                    "-Xms128m",
                    "-Xmx400m",
                    "-XX:+UseSerialGC",
                    "-Djava.awt.headless=true",
                    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
                    "-Dorg.slf4j.simpleLogger.showDateTime=true",
                    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
                ),
                "kafka.Kafka",
                str(self._config),
            ),
            directory=self._folder,
            stop_seconds=30,
        )

    def healthy(self) -> bool:
        """Tell whether it answers a metadata request with itself as a broker."""
        if ports.is_free(self._port, self.host):  # nobody listens yet; librdkafka would log each attempt
            return False
        try:
            admin = AdminClient({**client_config(self._settings, "gourmetgram-local"), "log_level": 0})
            return bool(admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def initialise(self, report: Report) -> None:
        """Create the platform's topics, or correct their settings."""
        ensure_topics(self._settings)
        self._topics_mark.touch()


def new_cluster_id() -> str:
    """A random id in Kafka's form: 22 characters of URL-safe base64, the first no dash (it would be an option)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _with_system_certificates(environment: dict[str, str]) -> dict[str, str]:
    """Make the fetch trust what the operating system trusts, company certificates included, as pip does."""
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.exists():
        environment.setdefault("REQUESTS_CA_BUNDLE", str(bundle))
    return environment


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no error message"
