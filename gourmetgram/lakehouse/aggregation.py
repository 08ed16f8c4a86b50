"""Task `consume_and_aggregate_events`: every record of the event topics becomes a row of `events`, exactly once.

1. The newest snapshot holds the next offsets, up to which records are in the table.
2. A run reads from these offsets to the end offsets that it froze at its start.
3. One commit adds the rows and the new offsets. It succeeds only on the snapshot that the run started from.

A run that dies at any point has changed nothing. Of two runs at the same time, only one can commit.
"""

import logging
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Self

from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.lakehouse.broker import (
    create_reader,
    known_topic_ids,
    next_offsets,
    plan_ranges,
    refuse_rewritten,
)
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.commits import PreparationClock, append_files, refuse_overdue
from gourmetgram.lakehouse.continuity import updated
from gourmetgram.lakehouse.event_rows import WriteRows, write_rows
from gourmetgram.lakehouse.files import delete_files
from gourmetgram.lakehouse.maintenance import maintain_quietly
from gourmetgram.lakehouse.outages import ChangedMeanwhileError, named_outages
from gourmetgram.lakehouse.progress import COMPLETE_THROUGH, EventsProgress, Offsets, events_progress
from gourmetgram.lakehouse.retention import drop_old_days_quietly
from gourmetgram.lakehouse.schemas import EVENTS, ensure_tables, open_table
from gourmetgram.lakehouse.watermark import freeze
from gourmetgram.moments import utc_text
from gourmetgram.settings import IcebergSettings, KafkaSettings, OfflineSettings, PostgresSettings

log = logging.getLogger(__name__)

_COMMIT_ATTEMPTS: Final = 5


class Sources(NamedTuple):
    """The servers of an aggregation."""

    iceberg: IcebergSettings
    kafka: KafkaSettings
    postgres: PostgresSettings

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings of all three.

        Args:
            environment: variables to read instead of the process's own.

        Raises:
            SettingsError: a variable has a value that is not allowed.
        """
        return cls(
            IcebergSettings.load(environment), KafkaSettings.load(environment), PostgresSettings.load(environment)
        )


@dataclass(frozen=True)
class AggregationResult:
    """Result of a run.

    Attributes:
        run_id: name of the run.
        snapshot_id: the new snapshot of `events`.
        offsets: next offset of each partition: `{topic: {partition: offset}}`.
        records: number of added rows.
        records_by_kind: the same by kind of event.
        skipped: malformed messages by reason.
        complete_through: watermark, ISO-8601, UTC.
        seconds: duration.
    """

    run_id: str
    snapshot_id: int
    offsets: Offsets
    records: int
    records_by_kind: dict[str, int]
    skipped: dict[str, int]
    complete_through: str
    seconds: float


def aggregate_events(
    sources: Sources, run_id: str | None = None, offline_settings: OfflineSettings | None = None
) -> AggregationResult:
    """Append the records that no run has read yet, in one commit. Creates missing tables.

    Args:
        sources: servers to read from and to write to.
        run_id: name of the run for the snapshot's summary; None makes one up.
        offline_settings: names the engine that reads and writes; None = this process.

    Raises:
        SettingsError: Spark is not installed.
        PermanentError: a topic is missing, was created again, or lost unread records; the text names topic, partition
            and offsets, and the remedy.
        TransientError: a server is away, or another run committed the same records first. Nothing was committed
            (or all of it, when the connection was lost during the commit): run again.
    """
    run_id = run_id or f"manual__{uuid.uuid4()}"
    with open_catalog(sources.iceberg) as catalog, named_outages("events could not be aggregated"):
        ensure_tables(catalog)
        log.debug("Step done: tables exist")
        result = _aggregate(sources, catalog, run_id, offline_settings)
        log.info(
            "Run %s added %d records %s and skipped %s; complete through %s; %.1f s",
            *(run_id, result.records, result.records_by_kind, result.skipped or "none"),
            *(result.complete_through, result.seconds),
        )
        table = catalog.load_table(EVENTS)
        drop_old_days_quietly(table, sources.iceberg.lake_retention_days)
        maintain_quietly(table)
        return result


def _aggregate(
    sources: Sources, catalog: Catalog, run_id: str, offline_settings: OfflineSettings | None
) -> AggregationResult:
    clock = PreparationClock()
    table = open_table(catalog, EVENTS)
    before = events_progress(table)
    # The time must be frozen before the end offsets: see `gourmetgram.lakehouse.watermark`.
    frozen_at, complete_through = freeze(sources.postgres)
    log.debug("Step done: time frozen")
    topics = sources.kafka.event_topics
    with closing(create_reader(sources.kafka)) as consumer:
        ids = known_topic_ids(sources.kafka, topics)
        held = held_ranges(consumer, topics)
        ranges = plan_ranges(held, topics, before, ids)
        refuse_rewritten(consumer, held, before)
        log.debug("Step done: ranges frozen")
        progress = EventsProgress(
            offsets=next_offsets(ranges, before),
            topic_ids={**(before.topic_ids if before else {}), **ids},
            run_id=run_id,
            complete_through=complete_through,
            ingested_at=_later_than(before, frozen_at),
            last_records={},
            gaps=before.gaps if before else (),
        )
        write = _writer(sources.kafka, offline_settings)
        written = write(consumer, ranges, table, progress.ingested_at)
        log.debug("Step done: files written")
        known = before.last_records if before else {}
        progress = progress._replace(last_records=updated(known, written.last_records))
    snapshot_id = _commit(table, written.files, before, progress, clock)
    log.debug("Step done: committed")
    return AggregationResult(
        run_id=run_id,
        snapshot_id=snapshot_id,
        offsets=progress.offsets,
        records=written.kinds.total(),
        records_by_kind=dict(written.kinds),
        skipped=dict(written.skipped),
        complete_through=utc_text(complete_through),
        seconds=clock.elapsed_s,
    )


def _writer(kafka: KafkaSettings, offline_settings: OfflineSettings | None) -> WriteRows:
    """Reading and writing by the engine of the settings."""
    if offline_settings is None or offline_settings.offline_engine == "duckdb":
        return write_rows
    # Imported here: Spark's client takes a second.
    from gourmetgram.lakehouse.spark_rows import SparkWriter

    return SparkWriter(kafka, offline_settings)


def _later_than(before: EventsProgress | None, frozen_at: datetime) -> datetime:
    """The `ingested_at` of a run: later than that of every earlier run, even when the clock went back."""
    return frozen_at if before is None else max(frozen_at, before.ingested_at + timedelta(microseconds=1))


def _commit(
    table: Table,
    files: list[DataFile],
    before: EventsProgress | None,
    progress: EventsProgress,
    clock: PreparationClock,
) -> int:
    """Add the files and the new offsets, unless another run has read a part of the ranges.

    Compaction and expiry change snapshots, but no offsets: then the same files are committed on the new snapshot.
    """
    properties = {COMPLETE_THROUGH: utc_text(progress.complete_through)}
    for attempt in range(1, _COMMIT_ATTEMPTS + 1):
        refuse_overdue(clock)
        try:
            return append_files(table, files, progress.summary(), properties)
        except ChangedMeanwhileError:
            table.refresh()
            if attempt == _COMMIT_ATTEMPTS or events_progress(table) != before:
                delete_files(table, (file.file_path for file in files))
                raise
            log.info("The table changed, but not its offsets: committing on its new snapshot")
    raise AssertionError("unreachable: the last attempt returns or raises")
