"""Apache Kafka 4.1 (KRaft: broker and controller in one process), from its Maven coordinates."""

import base64
import logging
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from gourmetgram.errors import PlatformError
from gourmetgram.files import replace_file
from gourmetgram.kafka.clients import client_config
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import ensure_topics
from gourmetgram_tools.local import free_space, kafka_classes, kafka_jars, ports, toolchain
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.progress import StepReport

log = logging.getLogger(__name__)

_RETENTION_MS = 30 * 24 * 3600 * 1000
# The JVM's second compiler costs more than it saves in a broker that lives for minutes to hours.
# (400,000 events: 1.2 instead of 2.1 s of the broker's processor time at first, 0.6 instead of 0.7-1.0 s later.)
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Kafka(Component):
    """Kafka as a part of the stack.

    Args:
        layout: paths of the stack.
        port: client port, advertised as localhost.
        controller_port: port of the KRaft controller, for the broker itself only.
        cache: folder of programs that are fetched once.
        advertised: address that the broker gives to its clients; None = localhost and the client port.
    """

    name = "kafka"
    title = "Kafka"
    contents = "topics"

    def __init__(
        self, layout: Layout, port: int, controller_port: int, cache: Path, advertised: str | None = None
    ) -> None:
        self._folder = layout.folder / "kafka"
        self._port = port
        self._controller_port = controller_port
        self._cache = cache
        self._advertised = advertised or f"localhost:{port}"

    @property
    def ports(self) -> Mapping[str, int]:
        """Client port and controller port."""
        return {"Kafka": self._port, "Kafka's controller": self._controller_port}

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients: the broker's own, also behind another advertised one."""
        return f"localhost:{self._port}"

    @property
    def _settings(self) -> KafkaSettings:
        return KafkaSettings(kafka_bootstrap_servers=self.bootstrap_servers)

    @property
    def _config(self) -> Path:
        return self._folder / "server.properties"

    def _java(self, *options: str) -> tuple[str, ...]:
        return (str(toolchain.find_java()), *_JVM, *options, "-cp", str(kafka_jars.folder(self._cache) / "*"))

    @property
    def _image(self) -> Path:
        return kafka_classes.image_file(self._cache, toolchain.find_java())

    def obtain(self, report: StepReport) -> None:
        """Fetch the jars, and write the image of their classes, once for all stacks."""
        kafka_jars.obtain(self._cache, report)
        with toolchain.exclusive(self._cache / "kafka-classes.lock"):
            if self._image.exists():
                return
            report("preparing quick starts (about a quarter of a minute, the first time only)")
            try:
                self._write_image(report)
            except (PlatformError, OSError) as error:
                # Starts without an image are only slower. An empty file keeps later calls from trying again.
                log.warning("Kafka will start without an image of its classes: %s", error)
                self._image.touch()

    def _write_image(self, report: StepReport) -> None:
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            names = Path(folder) / "classes"
            free = ports.choose_free()
            trial = Kafka(Layout("trial", Path(folder)), free.kafka, free.kafka_controller, self._cache)
            trial.prepare(report)

            def ready() -> bool:
                if trial.healthy():
                    trial.initialise(report)
                return trial.has_topics

            kafka_classes.note_loaded(names, trial._broker(kafka_classes.noting(names)), ready)
            kafka_classes.write_image(self._image, names, self._java())

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _topics_mark(self) -> Path:
        return self._folder / "topics-created"

    @property
    def has_topics(self) -> bool:
        """True if an earlier start created the topics."""
        return self._topics_mark.exists()

    def prepare(self, report: StepReport) -> None:
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
                *self._java("-Xmx128m", *kafka_classes.using(self._image)),
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
            "advertised.listeners": f"CLIENT://{self._advertised},CONTROLLER://localhost:{self._controller_port}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"localhost:{self._controller_port}",
            "log.dirs": data,
            "auto.create.topics.enable": "false",
            "num.partitions": 4,
            "default.replication.factor": 1,
            "log.retention.ms": _RETENTION_MS,
            # Internal topics: one replica, and few partitions for a few groups.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            # Offsets of an absent group live as long as their records.
            "offsets.retention.minutes": _RETENTION_MS // 60_000,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 4,
            # Heartbeats of the controller twice a second would only serve other brokers; there are none.
            "metadata.max.idle.interval.ms": 5_000,
            # A single consumer gets its partitions without a wait for others.
            "group.initial.rebalance.delay.ms": 0,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def program(self) -> Program:
        """One JVM with at most 400 MB of heap."""
        return Program(
            command=(
                *(sys.executable, "-I", free_space.__file__, str(self._folder)),
                *self._broker(*kafka_classes.using(self._image)),
            ),
            directory=self._folder,
            stop_seconds=30,
        )

    def _broker(self, *options: str) -> tuple[str, ...]:
        return (
            *self._java(
                "-Xms128m",
                "-Xmx400m",
                *options,
                "-Djava.awt.headless=true",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
            ),
            "kafka.Kafka",
            str(self._config),
        )

    def healthy(self) -> bool:
        """Probe that it answers a metadata request with itself as a broker."""
        if ports.is_free(self._port, self.host):  # no listener yet; librdkafka would log each attempt
            return False
        try:
            with AdminClient({**client_config(self._settings, "gourmetgram-local"), "log_level": 0}) as admin:
                return bool(admin.describe_cluster(request_timeout=2).result().nodes)
        except KafkaException:
            return False

    def initialise(self, report: StepReport) -> None:
        """Create the platform's topics, and correct their settings."""
        ensure_topics(self._settings)
        self._topics_mark.touch()


def new_cluster_id() -> str:
    """A random id in Kafka's form: 22 characters of URL-safe base64, the first no dash (it would be an option)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
