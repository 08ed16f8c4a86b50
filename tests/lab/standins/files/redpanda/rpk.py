"""The calls of Redpanda's command-line tool that the lab uses, spoken to Kafka; any other is refused."""

import argparse
import json
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

from broker import ADMIN_PORT, start  # type: ignore[import-not-found] # beside this file in the image
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

_WAIT_S = 30.0
Calls: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where argparse collects the calls of one area."""


def main() -> int:
    """Run one call; returns the exit code."""
    if sys.argv[1:3] == ["redpanda", "start"]:
        return int(start(sys.argv[3:]))
    options = _parser().parse_args()
    settings = dict(text.split("=", 1) for text in options.X)
    options.brokers = options.brokers or settings.get("brokers", "localhost:9092")
    options.admin = (options.api_urls or settings.get("admin.hosts") or f"localhost:{ADMIN_PORT}").split(",")[0]
    return int(options.call(options))


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("-X", action="append", default=[])
    common.add_argument("--brokers")
    common.add_argument("--api-urls")
    parser = argparse.ArgumentParser(prog="rpk", allow_abbrev=False)
    areas = parser.add_subparsers(required=True)
    cluster = areas.add_parser("cluster").add_subparsers(required=True)
    _call(cluster, "health", _health, common).add_argument("-e", "--exit-when-healthy", action="store_true")
    _call(cluster, "info", _list, common)
    config = cluster.add_parser("config").add_subparsers(required=True)
    _call(config, "set", _config_set, common).add_argument("words", nargs="+")
    _call(config, "get", _config_get, common).add_argument("name")
    topic = areas.add_parser("topic").add_subparsers(required=True)
    _topic_calls(topic, common)
    return parser


def _topic_calls(topic: Calls, common: argparse.ArgumentParser) -> None:
    create = _call(topic, "create", _create, common)
    create.add_argument("topics", nargs="+")
    create.add_argument("-p", "--partitions", type=int, default=1)
    create.add_argument("-r", "--replicas", type=int, default=1)
    create.add_argument("-c", "--topic-config", action="append", default=[])
    create.add_argument("--if-not-exists", action="store_true")
    alter = _call(topic, "alter-config", _alter, common)
    alter.add_argument("topics", nargs="+")
    alter.add_argument("-s", "--set", action="append", default=[])
    alter.add_argument("--no-confirm", action="store_true")
    add = _call(topic, "add-partitions", _add_partitions, common)
    add.add_argument("topics", nargs="+")
    add.add_argument("-n", "--num", type=int, required=True)
    add.add_argument("-f", "--force", action="store_true")
    listing = _call(topic, "list", _list, common)
    listing.add_argument("names", nargs="*")
    describe = _call(topic, "describe", _describe, common)
    describe.add_argument("topics", nargs="+")
    describe.add_argument("-c", "--print-configs", action="store_true")
    describe.add_argument("-p", "--print-partitions", action="store_true")
    describe.add_argument("-s", "--print-summary", action="store_true")
    describe.add_argument("--format", choices=["text", "json"], default="text")


def _call(
    group: Calls, name: str, call: Callable[[argparse.Namespace], int], common: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, parents=[common], allow_abbrev=False)
    parser.set_defaults(call=call)
    return parser


def _admin(options: argparse.Namespace) -> AdminClient:
    return AdminClient({"bootstrap.servers": options.brokers, "log_level": 0})


def _http(options: argparse.Namespace, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{options.admin}{path}", data, method="GET" if data is None else "PUT")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def _health(options: argparse.Namespace) -> int:
    healthy = _http(options, "/v1/cluster/health_overview")["is_healthy"]
    print("CLUSTER HEALTH OVERVIEW\n=======================")
    print(f"Healthy:                          {str(healthy).lower()}")
    return 0


def _config_set(options: argparse.Namespace) -> int:
    words = options.words
    pairs = dict(word.split("=", 1) for word in words) if "=" in words[0] else {words[0]: words[1]}
    _http(options, "/v1/cluster_config", pairs)
    print("Successfully updated configuration. New configuration version is 2.")
    return 0


def _config_get(options: argparse.Namespace) -> int:
    print(_http(options, "/v1/cluster_config").get(options.name, ""))
    return 0


def _create(options: argparse.Namespace) -> int:
    settings = dict(text.split("=", 1) for text in options.topic_config)
    topics = [NewTopic(name, options.partitions, options.replicas, config=settings) for name in options.topics]
    code = 0
    admin = _admin(options)  # a client that nobody holds would give its requests up
    print("TOPIC  STATUS")
    for name, future in admin.create_topics(topics, operation_timeout=_WAIT_S).items():
        status = _outcome(future)
        if status == "TOPIC_ALREADY_EXISTS" and options.if_not_exists:
            status = "OK"
        code |= status != "OK"
        print(f"{name}  {status}")
    return code


def _alter(options: argparse.Namespace) -> int:
    code = 0
    admin = _admin(options)
    print("TOPIC  STATUS")
    for name in options.topics:
        resource = ConfigResource(ResourceType.TOPIC, name)
        for text in options.set:
            key, _, value = text.partition("=")
            resource.add_incremental_config(ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET))
        (future,) = admin.incremental_alter_configs([resource]).values()
        status = _outcome(future)
        code |= status != "OK"
        print(f"{name}  {status}")
    return code


def _add_partitions(options: argparse.Namespace) -> int:
    admin = _admin(options)
    known = admin.list_topics(timeout=_WAIT_S).topics
    code = 0
    print("TOPIC  STATUS")
    for name in options.topics:
        total = len(known[name].partitions) + options.num
        (future,) = admin.create_partitions([NewPartitions(name, total)]).values()
        status = _outcome(future)
        code |= status != "OK"
        print(f"{name}  {status}")
    return code


def _outcome(future: Future[Any]) -> str:
    try:
        future.result(_WAIT_S)
    except KafkaException as error:
        return str(error.args[0].name())
    return "OK"


def _list(options: argparse.Namespace) -> int:
    topics = _admin(options).list_topics(timeout=_WAIT_S).topics
    names = getattr(options, "names", [])
    shown = sorted(name for name in topics if (name in names if names else not name.startswith("__")))
    width = max((len(name) for name in shown), default=5)
    print(f"{'NAME':<{width}}  PARTITIONS  REPLICAS")
    for name in shown:
        print(f"{name:<{width}}  {len(topics[name].partitions):<10}  1")
    return 0


def _describe(options: argparse.Namespace) -> int:
    admin = _admin(options)
    topics = admin.list_topics(timeout=_WAIT_S).topics
    every = not (options.print_configs or options.print_partitions or options.print_summary)
    for name in options.topics:
        if name not in topics:
            print(f"unable to describe topic {name}: UNKNOWN_TOPIC_OR_PARTITION", file=sys.stderr)
            return 1
        if every or options.print_summary:
            print(f"SUMMARY\n=======\nNAME        {name}\nPARTITIONS  {len(topics[name].partitions)}\nREPLICAS    1\n")
        if every or options.print_configs:
            (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
            print("CONFIGS\n=======")
            print(f"{'KEY':<40}  {'VALUE':<20}  SOURCE")
            for key, entry in sorted(future.result(_WAIT_S).items()):
                source = "DYNAMIC_TOPIC_CONFIG" if entry.source == 1 else "DEFAULT_CONFIG"
                print(f"{key:<40}  {entry.value!s:<20}  {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
