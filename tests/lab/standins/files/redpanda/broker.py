"""Apache Kafka behind Redpanda's flags."""

import argparse
import base64
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

DATA = Path("/var/lib/redpanda/data")
_CONTROLLER = "localhost:9093"
# Redpanda's names of settings that the compose file sets, and Kafka's.
_SETTINGS = {"redpanda.log_retention_ms": "log.retention.ms", "redpanda.log_segment_ms": "log.roll.ms"}


def start(arguments: list[str]) -> int:
    """Run the broker until it is told to stop; returns its exit code."""
    config = DATA / "server.properties"
    config.write_text(_properties(_parse(arguments)))
    if not (DATA / "log" / "meta.properties").exists():
        _java("kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(), "-c", str(config)).wait()
    broker = _java("kafka.Kafka", str(config), heap="400m")
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        broker.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    code = broker.wait()
    return 0 if stopping.is_set() else code or 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rpk redpanda start", allow_abbrev=False)
    parser.add_argument("--kafka-addr", required=True)
    parser.add_argument("--advertise-kafka-addr", required=True)
    parser.add_argument("--set", action="append", default=[])
    # Other flags of the compose file mean nothing to Kafka.
    return parser.parse_known_args(arguments)[0]


def _properties(options: argparse.Namespace) -> str:
    listeners = _listeners(options.kafka_addr)
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": _join({**listeners, "CONTROLLER": _CONTROLLER}),
        "advertised.listeners": _join({**_listeners(options.advertise_kafka_addr), "CONTROLLER": _CONTROLLER}),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in [*listeners, "CONTROLLER"]),
        "inter.broker.listener.name": next(iter(listeners)),
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": _CONTROLLER,
        "log.dirs": DATA / "log",
        "auto.create.topics.enable": "false",
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
    command = ["/opt/java/bin/java", *options, "-cp", "/opt/kafka/*", *arguments]
    # A group of its own: a signal to the container's main process must not reach it twice.
    return subprocess.Popen(command, env={"PATH": os.defpath, "LANG": "C.UTF-8"}, start_new_session=True)
