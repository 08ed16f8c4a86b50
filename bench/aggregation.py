"""Aggregation of a million waiting events: the DAG's five tasks, from Kafka to committed Iceberg tables.

`python -m bench.aggregation` measures and prints. The tasks run in one process of their own, which tells its time
(without the start of Python) and its peak memory.
"""

import argparse
import json
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from confluent_kafka import KafkaError, TopicPartition

from bench.memory import peak_memory_bytes
from bench.platform import bench_stack
from bench.report import Row, markdown
from gourmetgram.kafka.clients import create_producer
from gourmetgram.kafka.publish import OutgoingMessage, Publisher
from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
from gourmetgram.lakehouse.audit import event_counts, window_sums
from gourmetgram.lakehouse.broker import create_reader
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.checkpoint import checkpoint_document
from gourmetgram.lakehouse.schemas import WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.settings import KafkaSettings

IMAGES = 20_000
USERS = 2_000
CHUNK = 100_000

ALLOCATOR = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
"""As the services of Airflow have it: freed memory goes back to the system (less 80 MB of peak, no slower)."""


def make_events(count: int, hours: float) -> Iterator[dict[str, Any]]:
    """Events as api_v2 writes them, in order of time over the last hours: mostly views, few images get most."""
    dice = random.Random(42)
    images, users = _ids(dice, IMAGES), _ids(dice, USERS)
    now = datetime.now(UTC)
    for number in range(count):
        at = (now - timedelta(hours=hours * (count - number) / count)).isoformat()
        kind = dice.choices(("view", "comment", "flag", "upload"), (85, 10, 3, 2))[0]
        common = {
            "event_type": kind,
            "event_id": _id(dice),
            "image_id": images[int(dice.random() ** 2 * IMAGES)],
            "viewed_at" if kind == "view" else "created_at": at,
            "actor_eligible": dice.random() < 0.9,
        }
        yield common | _OF_KIND[kind](dice, users)


_OF_KIND: dict[str, Callable[[random.Random, list[str]], dict[str, Any]]] = {
    "view": lambda _dice, _users: {},
    "comment": lambda dice, users: {
        "comment_id": _id(dice), "user_id": dice.choice(users), "content": "lovely tasty plate of food today"
    },
    "flag": lambda dice, users: {
        "flag_id": _id(dice), "user_id": dice.choice(users), "comment_id": None, "reason": "spam in comment"
    },
    "upload": lambda dice, users: {
        "user_id": dice.choice(users), "category": "Bread", "caption": "Fresh crispy bread - a b c",
        "s3_url": "http://minio:9000/gourmetgram-images/picture.jpg",
    },
}  # fmt: skip


def _id(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def _ids(dice: random.Random, count: int) -> list[str]:
    return [_id(dice) for _ in range(count)]


def publish(kafka: KafkaSettings, count: int, hours: float) -> None:
    """Put the events into their topics."""
    topics = dict(zip(("view", "comment", "upload", "flag"), kafka.event_topics, strict=True))
    config = {"linger.ms": 20, "queue.buffering.max.messages": 2 * CHUNK}
    publisher = Publisher(lambda: create_producer(kafka, "bench", **config))
    chunk: list[OutgoingMessage] = []
    for event in make_events(count, hours):
        chunk.append(OutgoingMessage(topics[event["event_type"]], event["image_id"], orjson.dumps(event)))
        if len(chunk) == CHUNK:
            assert not publisher.publish(chunk, timeout_s=120).unconfirmed
            chunk.clear()
    assert not publisher.publish(chunk, timeout_s=120).unconfirmed


def bare_read_seconds(kafka: KafkaSettings) -> float:
    """Seconds that one client takes to read the four topics, doing nothing with the messages: the bound."""
    consumer = create_reader(kafka)
    places = [TopicPartition(topic, partition, 0) for topic in kafka.event_topics for partition in range(4)]
    begin = time.perf_counter()
    consumer.assign(places)
    ended = 0
    while ended < len(places):
        for message in consumer.consume(5_000, 0.1):
            error = message.error()
            ended += error is not None and error.code() == KafkaError._PARTITION_EOF
    seconds = time.perf_counter() - begin
    consumer.close()
    return seconds


def child() -> None:
    """The five tasks in this process; prints what they took as JSON."""
    sources = Sources.load()
    seconds = {}
    begin = time.perf_counter()
    result = aggregate_events(sources)
    seconds["events"] = time.perf_counter() - begin
    peak_events = peak_memory_bytes() / 2**20
    for kind in WINDOWED_KINDS:
        step = time.perf_counter()
        write_windows(sources.iceberg, kind)
        seconds[f"{kind} windows"] = time.perf_counter() - step
    checkpoint_document(sources.iceberg)
    total = time.perf_counter() - begin
    report = {"records": result.records, "seconds": seconds, "total": total, "cpu": time.process_time()}
    json.dump(report | {"peak_events_mb": peak_events, "peak_mb": peak_memory_bytes() / 2**20}, sys.stdout)


def run(events: int = 1_000_000, hours: float = 24.0) -> list[Row]:
    """Measure one aggregation of so many events, whose times are spread over so many hours."""
    with bench_stack([]) as stack:
        environment = stack.environment()
        kafka = KafkaSettings.load(environment)
        publish(kafka, events, hours)
        bare = bare_read_seconds(kafka)
        command = [sys.executable, "-m", "bench.aggregation", "--child"]
        finished = subprocess.run(command, env=environment | ALLOCATOR, stdout=subprocess.PIPE, check=True)
        report = json.loads(finished.stdout)
        _check(Sources.load(environment), events)
    steps = ", ".join(f"{name} {value:.1f} s" for name, value in report["seconds"].items())
    return [
        Row(
            f"aggregation of {events:,} events over {hours:g} h, Kafka to committed tables ({steps})",
            f"{report['total']:.1f} s, peak {report['peak_mb']:.0f} MB ({report['peak_events_mb']:.0f} MB before the "
            f"windows), {report['cpu']:.1f} s of CPU",
            f"{bare:.1f} s (bare Kafka read)",
            f"{bare / report['total']:.0%}",
            "<= 12 s, peak <= 400 MB",
        )
    ]


def _check(sources: Sources, events: int) -> None:
    """What was measured was right."""
    with open_catalog(sources.iceberg) as catalog:
        counts, sums = event_counts(catalog), window_sums(catalog)
    assert sum(count.events for count in counts.values()) == events
    assert all(sums[kind].events == counts[kind].events for kind in WINDOWED_KINDS)
    assert all(sums[kind].eligible == counts[kind].eligible for kind in WINDOWED_KINDS)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.aggregation", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many events wait (1000000)")
    parser.add_argument("--hours", type=float, default=24.0, help="over how many hours their times spread (24)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child()
    else:
        print(markdown(run(options.events, options.hours)))


if __name__ == "__main__":
    main()
