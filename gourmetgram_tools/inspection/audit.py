"""The audit: compares the contents of all stores while the platform is at rest, exact to the event."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, RecordsGoneError
from gourmetgram.lakehouse.catalog import table_versions
from gourmetgram.moments import now_us
from gourmetgram_tools.inspection import objects
from gourmetgram_tools.inspection.checks import Check, Note, run_checks, take_notes
from gourmetgram_tools.inspection.derived import derive
from gourmetgram_tools.inspection.kafka_reading import read, reader
from gourmetgram_tools.inspection.kafka_records import load_dead_letters, load_events, load_requests
from gourmetgram_tools.inspection.lakehouse import LakeReading, load_lakehouse
from gourmetgram_tools.inspection.owners import load_owners
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.quiescence import DEFAULT_DEADLINE_S, look, wait_for_rest
from gourmetgram_tools.inspection.redis_state import load_redis
from gourmetgram_tools.inspection.rows import load_rows
from gourmetgram_tools.inspection.tables import StoreTables, open_tables


@dataclass(frozen=True)
class AuditResult:
    """All checks and notes.

    Attributes:
        skipped: sentences about stores that do not exist yet.
        events: distinct events compared.
        waited_s: seconds until the platform came to rest.
        read_s: seconds of reading and comparing.
    """

    checks: tuple[Check, ...]
    notes: tuple[Note, ...]
    skipped: tuple[str, ...]
    events: int
    waited_s: float
    read_s: float

    @property
    def differences(self) -> int:
        """Number of differences in all checks."""
        return sum(len(check.differences) for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON document."""
        return {
            "ok": self.differences == 0,
            "differences": self.differences,
            "events": self.events,
            "waited_s": round(self.waited_s, 3),
            "read_s": round(self.read_s, 3),
            "checks": [{**asdict(check), "ok": check.ok} for check in self.checks],
            "notes": [asdict(note) for note in self.notes],
            "skipped": list(self.skipped),
        }


def audit(
    platform: Platform,
    *,
    deadline_s: float = DEFAULT_DEADLINE_S,
    strict: bool = False,
    report: Callable[[str], None] = lambda _text: None,
) -> AuditResult:
    """Compare the stores of a platform.

    Args:
        platform: addresses of its stores.
        deadline_s: longest wait for rest, seconds.
        strict: True = rows of API v1, which have no events, count as differences.
        report: receives the current step, for display.

    Raises:
        StillMovingError: writes go on, or an event is stuck.
        TransientError: a store is away.
    """
    engine = create_worker_engine(platform.postgres, "gourmetgram-audit")
    started = time.monotonic()
    try:
        while True:
            before = wait_for_rest(lambda: look(platform, engine), started + deadline_s, report)
            waited = time.monotonic() - started
            report("reading the stores")
            with open_tables() as tables:
                try:
                    lake = load_stores(tables, platform, engine, before.ends, strict)
                except RecordsGoneError:
                    continue  # Kafka's retention removed records meanwhile, so the ranges have changed.
                # A store changed meanwhile, so the tables are not of one moment.
                if before != look(platform, engine) or lake.versions != table_versions(platform.iceberg):
                    continue
                report("comparing")
                return AuditResult(
                    checks=tuple(run_checks(tables, lake)),
                    notes=tuple(take_notes(tables)),
                    skipped=lake.skipped(),
                    events=tables.rows("SELECT count(*) FROM events")[0][0],
                    waited_s=waited,
                    read_s=time.monotonic() - started - waited,
                )
    finally:
        engine.dispose()


def load_stores(
    tables: StoreTables, platform: Platform, engine: Engine, ends: Mapping[Partition, OffsetRange], strict: bool
) -> LakeReading:
    """Read all stores, and derive the facts that the checks need.

    Args:
        tables: empty tables.
        platform: addresses of the stores.
        engine: engine of the platform's database.
        ends: ranges of records to read.
        strict: see `audit`.

    Raises:
        RecordsGoneError: Kafka no longer holds a record of the ranges.
        TransientError: a store is away.
    """
    kafka = platform.kafka
    began_us = now_us()
    tables.define(strict=strict, consumer_group=platform.consumer_group, moderation_topic=kafka.moderation_topic)
    load_rows(tables, engine, platform.objects.s3_bucket_name)
    load_redis(tables, platform.redis)
    events = _of_topics(ends, kafka.event_topics)
    tables.load("spans", ((*place, *span) for place, span in events.items()))
    with reader(kafka) as consumer:
        partitions = len(_of_topics(ends, (kafka.kafka_topic_views,)))
        load_events(tables, read(consumer, events), partitions)
        load_requests(tables, read(consumer, _of_topics(ends, (kafka.moderation_topic,))))
        load_dead_letters(tables, read(consumer, _of_topics(ends, (kafka.dead_letter_topic,))))
    objects.load_objects(tables, platform.objects)
    lake = load_lakehouse(tables, platform.iceberg)
    load_owners(tables, engine, platform.objects, platform.iceberg)
    derive(tables, platform.rules, began_us)
    return lake


def _of_topics(ends: Mapping[Partition, OffsetRange], topics: Collection[str]) -> dict[Partition, OffsetRange]:
    return {partition: span for partition, span in ends.items() if partition.topic in topics}
