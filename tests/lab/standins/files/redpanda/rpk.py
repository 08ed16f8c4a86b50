"""Calls of Redpanda's command-line tool that new and unchanged topics need, spoken to Kafka; others are refused."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from broker import start  # type: ignore[import-not-found] # beside this file in the image
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

_WAIT_S = 30.0
_HEALTH_S = 1.5
# The broker is started with this setting, the only one that the lab changes.
_KEPT = ["auto_create_topics_enabled", "false"]


def main() -> int:
    """Run one call; returns the exit code."""
    if sys.argv[1:3] == ["redpanda", "start"]:
        return int(start(sys.argv[3:]))
    options = _parser().parse_args()
    servers = dict(text.split("=", 1) for text in options.X).get("brokers", "localhost:9092")
    return int(options.call(options, AdminClient({"bootstrap.servers": servers, "log_level": 0})))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rpk", allow_abbrev=False)
    areas = parser.add_subparsers(required=True)
    cluster = areas.add_parser("cluster").add_subparsers(required=True)
    _call(cluster, "health", _health)
    _call(cluster.add_parser("config").add_subparsers(required=True), "set", _config_set, "words")
    topic = areas.add_parser("topic").add_subparsers(required=True)
    _call(topic, "list", _list)
    _call(topic, "describe", _describe, "topics").add_argument("--print-configs", action="store_true", required=True)
    create = _call(topic, "create", _create, "topics")
    create.add_argument("--partitions", type=int, required=True)
    create.add_argument("--replicas", type=int, required=True)
    create.add_argument("--topic-config", action="append", default=[])
    return parser


def _call(
    group: Any, name: str, call: Callable[[argparse.Namespace, AdminClient], int], words: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, allow_abbrev=False)
    parser.set_defaults(call=call)
    parser.add_argument("-X", action="append", default=[])
    if words:
        parser.add_argument(words, nargs="+")
    return parser


def _health(_options: argparse.Namespace, admin: AdminClient) -> int:
    try:
        healthy = bool(admin.list_topics(timeout=_HEALTH_S).brokers)
    except KafkaException:
        healthy = False
    print(f"CLUSTER HEALTH OVERVIEW\n=======================\nHealthy:                          {str(healthy).lower()}")
    return 0


def _config_set(options: argparse.Namespace, _admin: AdminClient) -> int:
    if options.words != _KEPT:
        sys.exit(f"rpk stand-in: unknown setting {options.words}")
    print("Successfully updated configuration. New configuration version is 2.")
    return 0


def _list(_options: argparse.Namespace, admin: AdminClient) -> int:
    topics = admin.list_topics(timeout=_WAIT_S).topics
    shown = sorted(name for name in topics if not name.startswith("__"))
    width = max((len(name) for name in shown), default=5)
    print(f"{'NAME':<{width}}  PARTITIONS  REPLICAS")
    for name in shown:
        print(f"{name:<{width}}  {len(topics[name].partitions):<10}  1")
    return 0


def _describe(options: argparse.Namespace, admin: AdminClient) -> int:
    print(f"{'KEY':<40}  {'VALUE':<20}  SOURCE")
    for name in options.topics:
        (future,) = admin.describe_configs([ConfigResource("topic", name)]).values()
        for key, entry in sorted(future.result(_WAIT_S).items()):
            source = "DYNAMIC_TOPIC_CONFIG" if entry.source == 1 else "DEFAULT_CONFIG"
            print(f"{key:<40}  {entry.value!s:<20}  {source}")
    return 0


def _create(options: argparse.Namespace, admin: AdminClient) -> int:
    settings = dict(text.split("=", 1) for text in options.topic_config)
    topics = [NewTopic(name, options.partitions, options.replicas, config=settings) for name in options.topics]
    code = 0
    print("TOPIC  STATUS")
    for name, future in admin.create_topics(topics, operation_timeout=_WAIT_S).items():
        try:
            future.result(_WAIT_S)
            print(f"{name}  OK")
        except KafkaException as error:
            print(f"{name}  {error.args[0].name()}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
