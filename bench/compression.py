"""Compression of the event topics: bytes on the broker's disk, and processor time of writing and reading, by codec.

The events are those that the API writes under load. The relay's own publisher sends them again, in rounds of several
sizes: one event (the lab's usual rate), 16 (a busy API) and 1,000 (the relay's most, after an outage).
"""

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from threading import Event as Flag
from typing import Final, NamedTuple

import orjson
import psutil
import psycopg2
from confluent_kafka import Message

from api_v2.publisher import OutboxEvent, OutboxPublisher
from bench.api import USERS, workloads
from bench.load import run_load
from bench.platform import bench_stack, create_cast
from bench.report import Row
from gourmetgram.events import BadMessage, parse_event
from gourmetgram.kafka.ranges import held_ranges, read_ranges
from gourmetgram.kafka.records import to_record
from gourmetgram.lakehouse.broker import create_reader
from gourmetgram.lakehouse.parsing import parse_messages
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import ensure_topics
from gourmetgram.waiting import wait_for
from gourmetgram_tools.local.stack import Stack

CODECS: Final = ("none", "gzip", "lz4", "snappy", "zstd")
EVENTS: Final = {1: 1_000, 16: 16_000, 1_000: 60_000}
"""Number of events by size of the round."""

PASSES: Final = 3
"""Repetitions, codecs in turn. The least processor time counts: other programs only add to it."""

IMAGES: Final = 200
CLIENTS: Final = 64
_BATCH_HEADER: Final = struct.Struct(">qi45xi")
"""Base offset, length after this field, number of records: the fields of a batch header that are used."""


class Stored(NamedTuple):
    """Batches of topics in the broker's files.

    Attributes:
        records: number of records.
        batches: number of batches.
        size: bytes.
    """

    records: int
    batches: int
    size: int


class Cost(NamedTuple):
    """Cost of an event, in bytes and in microseconds of processor time.

    Attributes:
        size: bytes on the broker's disk.
        relay: the relay's publisher, from rows to confirmations.
        broker: the broker meanwhile.
        read: the client that reads for the aggregation.
        aggregation: the same, with the aggregation's parser.
        consumer: the same, with the parser of the stream consumer.
    """

    size: float
    relay: float
    broker: float
    read: float
    aggregation: float
    consumer: float

    def __str__(self) -> str:
        return (
            f"{self.size:.0f} B; relay {self.relay:.1f}, broker {self.broker:.1f}, read {self.read:.2f}, "
            f"read and parsed by the aggregation {self.aggregation:.1f}, by the consumer {self.consumer:.1f} µs"
        )

    def relative_to(self, other: "Cost") -> str:
        """Ratio of each cost to another one."""
        return " / ".join(f"{mine / its:.2f}" for mine, its in zip(self, other, strict=True))


def stored(stack: Stack, topics: Sequence[str]) -> Stored:
    """Read the headers of all batches of the topics from the broker's files."""
    batches = [
        batch for topic in topics for file in stack.folder.glob(f"**/{topic}-[0-9]/*.log") for batch in _batches(file)
    ]
    return Stored(sum(records for records, _ in batches), len(batches), sum(size for _, size in batches))


def _batches(file: Path) -> Iterator[tuple[int, int]]:
    """Records and bytes of each batch of a segment."""
    content, place = file.read_bytes(), 0
    while place + _BATCH_HEADER.size <= len(content):
        _offset, length, records = _BATCH_HEADER.unpack_from(content, place)
        if length <= 0:  # space that is reserved, not written
            return
        yield records, length + 12
        place += length + 12


def _traffic(stack: Stack, kafka: KafkaSettings, seconds: float) -> Stored:
    """Mixed writes to the API, until the relay has published all of them."""
    kinds = workloads(create_cast(stack.environment()["GENERATOR_API_URL"], USERS, IMAGES))
    mixed = [request for request in chain.from_iterable(zip_longest(*kinds.values())) if request]
    before = stored(stack, kafka.event_topics)
    run_load("127.0.0.1", stack.ports.api, mixed, clients=CLIENTS, seconds=seconds)
    with psycopg2.connect(stack.environment()["DATABASE_URL"]) as connection, connection.cursor() as cursor:

        def pending() -> int:
            cursor.execute("SELECT count(*) FROM event_outbox WHERE published_at IS NULL")
            return int(cursor.fetchone()[0])

        late = partial(_late, "the relay did not publish all events")
        wait_for(pending, deadline_s=120, every_s=0.5, late=late, done=lambda left: left == 0)
    after = stored(stack, kafka.event_topics)
    return Stored(*(last - first for last, first in zip(after, before, strict=True)))


def _late(sentence: str, _answer: object) -> Exception:
    return TimeoutError(sentence)


def _messages(kafka: KafkaSettings) -> Iterator[list[Message]]:
    """All that the event topics hold."""
    consumer = create_reader(kafka)
    try:
        yield from read_ranges(consumer, held_ranges(consumer, kafka.event_topics))
    finally:
        consumer.close()


def _corpus(kafka: KafkaSettings) -> list[tuple[int, str, bytes]]:
    """Place of the topic, key and content of each event, in the order of the broker's times."""
    found = [
        (record.broker_time_us, kafka.event_topics.index(record.topic), record.value or b"")
        for batch in _messages(kafka)
        for record in map(to_record, batch)
    ]
    return [(place, str(orjson.loads(value)["image_id"]), value) for _time, place, value in sorted(found)]


def _settings(kafka: KafkaSettings, codec: str, round_size: int) -> KafkaSettings:
    """The same broker, with event topics of their own."""
    kinds = ("views", "comments", "uploads", "flags")
    topics = {f"kafka_topic_{kind}": f"bench.{codec}.{round_size}.{kind}" for kind in kinds}
    return kafka.model_copy(update={"kafka_compression": codec, **topics})


class Case:
    """One codec and one size of rounds, in topics of its own."""

    def __init__(self, stack: Stack, kafka: KafkaSettings, codec: str, round_size: int) -> None:
        self._stack, self._round_size = stack, round_size
        self._kafka = _settings(kafka, codec, round_size)
        self._costs: list[Cost] = []
        ensure_topics(self._kafka, self._kafka.event_topics)

    def measure(self, corpus: Sequence[tuple[int, str, bytes]]) -> None:
        """Publish and read."""
        topics, number = self._kafka.event_topics, EVENTS[self._round_size]
        events = (corpus[index % len(corpus)] for index in range(number))
        rows = [OutboxEvent(n, topics[place], key, value) for n, (place, key, value) in enumerate(events)]
        publisher = OutboxPublisher(self._kafka)
        publisher.publish(rows[:1], Flag())
        broker = psutil.Process(self._stack._pid("kafka"))
        broker_before, before = _cpu_s(broker), time.process_time()
        for start in range(0, number, self._round_size):
            part = rows[start : start + self._round_size]
            assert len(publisher.publish(part, Flag())) == len(part)
        relay_s, broker_s = time.process_time() - before, _cpu_s(broker) - broker_before
        publisher.close()
        held = stored(self._stack, topics)
        self._read_s(len)  # The first client of a process also loads its libraries.
        reads = [self._read_s(use) / held.records for use in (len, parse_messages, _parse_each)]
        in_us = (1e6 * seconds for seconds in (relay_s / number, broker_s / number, *reads))
        self._costs.append(Cost(held.size / held.records, *in_us))
        self.batch_records = held.records / held.batches

    def cost(self) -> Cost:
        """Least cost over all passes."""
        return Cost(*map(min, zip(*self._costs, strict=True)))

    def _read_s(self, use: Callable[[list[Message]], object]) -> float:
        before = time.process_time()
        for batch in _messages(self._kafka):
            use(batch)
        return time.process_time() - before


def _parse_each(batch: list[Message]) -> None:
    for message in batch:
        assert not isinstance(parse_event(to_record(message)), BadMessage)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def run(seconds: float) -> list[Row]:
    """Measure all codecs at each size of rounds; the limit is the cost without compression."""
    with bench_stack(["api_v2"]) as stack:
        kafka = KafkaSettings.load(stack.environment())
        live = _traffic(stack, kafka, seconds)
        stack.stop("api_v2")
        corpus = list(islice(_corpus(kafka), 50_000))
        rows = [
            Row(
                f"the API's own events, {CLIENTS} clients, gzip",
                f"{live.size / live.records:.0f} B an event, {live.records / live.batches:.1f} events a batch",
            )
        ]
        for round_size in EVENTS:
            cases = {codec: Case(stack, kafka, codec, round_size) for codec in CODECS}
            for _ in range(PASSES):
                for case in cases.values():
                    case.measure(corpus)
            plain = cases["none"].cost()
            rows += [
                Row(
                    f"{codec}, rounds of {round_size:,} ({case.batch_records:.1f} events a batch)",
                    str(case.cost()),
                    "without compression",
                    case.cost().relative_to(plain),
                )
                for codec, case in cases.items()
            ]
    return rows
