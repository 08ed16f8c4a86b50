"""The audit: read every store while the platform is at rest, and compare them to the event."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.lakehouse.catalog import table_versions
from gourmetgram_tools.inspection import objects
from gourmetgram_tools.inspection.checks import Check, Facts, Note, notes, run_checks
from gourmetgram_tools.inspection.checks.facts import coverage
from gourmetgram_tools.inspection.history import History
from gourmetgram_tools.inspection.kafka_reading import Place, Range, read, reader
from gourmetgram_tools.inspection.lakehouse import read_lakehouse
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.quiescence import DEFAULT_DEADLINE_S, look, wait_for_rest
from gourmetgram_tools.inspection.redis_state import connect as connect_redis
from gourmetgram_tools.inspection.redis_state import read_redis
from gourmetgram_tools.inspection.requests import DeadLetter, Requests, dead_letter_of
from gourmetgram_tools.inspection.rows import read_rows

Report = Callable[[str], None]


@dataclass(frozen=True)
class AuditResult:
    """All checks and notes.

    Attributes:
        skipped: sentences about stores that do not exist yet.
        events: distinct events compared.
        waited_s: how long the platform took to come to rest.
        read_s: how long reading and comparing took.
    """

    checks: tuple[Check, ...]
    notes: tuple[Note, ...]
    skipped: tuple[str, ...]
    events: int
    waited_s: float
    read_s: float

    @property
    def differences(self) -> int:
        """How many differences there are in all."""
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
    report: Report = lambda _text: None,
) -> AuditResult:
    """Compare the stores of a platform.

    Args:
        platform: where its stores are.
        deadline_s: how long to wait for it to come to rest.
        strict: rows written without events by API v1 count as differences.
        report: told what happens, for display.

    Raises:
        StillMovingError: writes go on, or something is stuck.
        TransientError: a store is away.
    """
    engine = create_worker_engine(platform.postgres, "gourmetgram-audit")
    started = time.monotonic()
    try:
        while True:
            before = wait_for_rest(lambda: look(platform, engine), started + deadline_s, report)
            waited = time.monotonic() - started
            report("reading the stores")
            facts = read_facts(platform, engine, before.ends, strict)
            # Something arrived while the stores were being read: what was read does not belong together.
            if before == look(platform, engine) and facts.lakehouse.versions == table_versions(platform.iceberg):
                break
        report("comparing")
        checks = tuple(run_checks(facts))
        return AuditResult(
            checks=checks,
            notes=tuple(notes(facts)),
            skipped=facts.lakehouse.skipped(),
            events=facts.history.events.total(),
            waited_s=waited,
            read_s=time.monotonic() - started - waited,
        )
    finally:
        engine.dispose()


def read_facts(platform: Platform, engine: Engine, ends: Mapping[Place, Range], strict: bool) -> Facts:
    """Read all stores.

    Args:
        platform: where they are.
        engine: its database.
        ends: which records of each partition to read.
        strict: see `audit`.
    """
    kafka = platform.kafka
    now_us = time.time_ns() // 1000
    events = {place: span for place, span in ends.items() if place[0] in kafka.event_topics}
    partitions = sum(topic == kafka.kafka_topic_views for topic, _ in events)
    rows = read_rows(engine)
    with connect_redis(platform.redis) as client:
        state = read_redis(client)
    with reader(kafka) as consumer, _without_garbage_collection():
        number = sum(span.end - span.start for span in events.values())
        history = History.of(read(consumer, events), partitions, number)
        requests = Requests.of(read(consumer, _of_topic(ends, kafka.moderation_topic)))
        letters: list[DeadLetter] = []
        for keyed in read(consumer, _of_topic(ends, kafka.dead_letter_topic)):
            letter = dead_letter_of(keyed.record.value)
            if letter is not None:
                letters.append(letter)
    bucket = platform.objects.s3_bucket_name
    return Facts(
        history=history,
        requests=requests,
        dead_letters=letters,
        rows=rows,
        redis=state,
        objects=objects.list_objects(objects.connect(platform.objects), bucket),
        bucket=bucket,
        moderation_topic=kafka.moderation_topic,
        consumer_group=platform.consumer_group,
        rules=platform.rules,
        event_ranges=events,
        lakehouse=read_lakehouse(platform.iceberg, history, events),
        coverage=coverage(history, events, rows, now_us),
        now_us=now_us,
        strict=strict,
    )


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Millions of small objects, all kept and none in a cycle: looking for cycles would take a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _of_topic(ends: Mapping[Place, Range], topic: str) -> dict[Place, Range]:
    return {place: span for place, span in ends.items() if place[0] == topic}
