"""`rpk redpanda start`: Kafka as the container's main process, and what rpk needs of Redpanda's admin API."""

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

DATA = Path("/var/lib/redpanda/data")
CLUSTER_SETTINGS = DATA / "cluster-settings.json"
CONTROLLER_PORT = 9093
ADMIN_PORT = 9644
_JAVA = "/opt/java/bin/java"
_CLASSPATH = "/opt/kafka/*"
# Redpanda's names of settings that the compose file sets, and Kafka's.
_SETTINGS = {"redpanda.log_retention_ms": "log.retention.ms", "redpanda.log_segment_ms": "log.roll.ms"}
_IGNORED = (
    "pandaproxy-addr",
    "advertise-pandaproxy-addr",
    "schema-registry-addr",
    "rpc-addr",
    "advertise-rpc-addr",
    "smp",
    "memory",
    "reserve-memory",
    "mode",
    "default-log-level",
    "node-id",
    "seeds",
)


def start(arguments: list[str]) -> int:
    """Run the broker until it is told to stop; returns its exit code."""
    options = _parse(arguments)
    config = DATA / "server.properties"
    config.write_text(_properties(options))
    if not (DATA / "log" / "meta.properties").exists():
        _java("kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(), "-c", str(config)).wait()
    broker = _java("kafka.Kafka", str(config), heap="400m")
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        broker.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    admin = ThreadingHTTPServer(("0.0.0.0", ADMIN_PORT), _Admin)
    threading.Thread(target=admin.serve_forever, daemon=True).start()
    code = broker.wait()
    return 0 if stopping.is_set() else code or 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rpk redpanda start", allow_abbrev=False)
    parser.add_argument("--kafka-addr", required=True)
    parser.add_argument("--advertise-kafka-addr", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--overprovisioned", action="store_true")
    parser.add_argument("--check", default="true")
    for name in _IGNORED:
        parser.add_argument(f"--{name}")
    return parser.parse_args(arguments)


def _properties(options: argparse.Namespace) -> str:
    listeners = _listeners(options.kafka_addr)
    advertised = _listeners(options.advertise_kafka_addr)
    names = [*listeners, "CONTROLLER"]
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": _join({**listeners, "CONTROLLER": f"127.0.0.1:{CONTROLLER_PORT}"}),
        "advertised.listeners": _join({**advertised, "CONTROLLER": f"localhost:{CONTROLLER_PORT}"}),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
        "inter.broker.listener.name": next(iter(listeners)),
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": f"localhost:{CONTROLLER_PORT}",
        "log.dirs": DATA / "log",
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "offsets.retention.minutes": 43200,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    for text in options.set:
        name, _, value = text.partition("=")
        if name not in _SETTINGS:
            sys.exit(f"rpk stand-in: unknown setting {name}")
        settings[_SETTINGS[name]] = value
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _listeners(text: str) -> dict[str, str]:
    """`internal://0.0.0.0:9092,external://…` by upper-case name."""
    pairs = (part.partition("://") for part in text.split(","))
    return {name.upper(): address for name, _, address in pairs}


def _join(listeners: dict[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in listeners.items())


def _cluster_id() -> str:
    # A leading dash would be read as an option.
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def _java(*arguments: str, heap: str = "128m") -> "subprocess.Popen[bytes]":
    options = (f"-Xmx{heap}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    # A group of its own: a signal to the container's main process must not reach it twice.
    return subprocess.Popen([_JAVA, *options, "-cp", _CLASSPATH, *arguments], env=environment, start_new_session=True)


class _Admin(BaseHTTPRequestHandler):
    """Health and cluster settings, as much as rpk asks for."""

    client = AdminClient({"bootstrap.servers": "localhost:9092", "log_level": 0})

    def do_GET(self) -> None:
        if self.path == "/v1/cluster/health_overview":
            self._answer({"is_healthy": self._healthy()})
        elif self.path == "/v1/cluster_config":
            self._answer(_cluster_settings())
        else:
            self.send_error(404)

    def do_PUT(self) -> None:
        changes = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        CLUSTER_SETTINGS.write_text(json.dumps(_cluster_settings() | changes))
        self._answer({})

    def _healthy(self) -> bool:
        try:
            return bool(self.client.list_topics(timeout=1.5).brokers)
        except KafkaException:
            return False

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Health checks are not worth a line."""


def _cluster_settings() -> dict[str, object]:
    return json.loads(CLUSTER_SETTINGS.read_text()) if CLUSTER_SETTINGS.exists() else {}
