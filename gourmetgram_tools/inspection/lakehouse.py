"""What the Iceberg tables hold, read as far as the audit compares it, in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pyiceberg.catalog import Catalog

from gourmetgram.events import EventKind
from gourmetgram.lakehouse.audit import EventCount, WindowSum, event_counts, window_sums
from gourmetgram.lakehouse.catalog import open_catalog, table_versions
from gourmetgram.lakehouse.progress import Offsets, complete_through, events_progress
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES
from gourmetgram.lakehouse.windows import processed_through
from gourmetgram.settings import IcebergSettings
from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram_tools.inspection.event_log import KIND_CODES, Ids
from gourmetgram_tools.inspection.history import History
from gourmetgram_tools.inspection.kafka_reading import Place, Range
from gourmetgram_tools.inspection.lake_records import COLUMNS, ROW_ID_COLUMN, RecordComparison
from gourmetgram_tools.inspection.lake_training import TrainingRows, read_training_rows


@dataclass(frozen=True)
class Windows:
    """One window table.

    Attributes:
        total: its sums; None when the table is missing.
        is_current: it is made of everything that is in `events`.
    """

    total: WindowSum | None
    is_current: bool


@dataclass(frozen=True)
class Lakehouse:
    """What the tables hold.

    Attributes:
        offsets: the next offset that `events` has not read, by topic and partition, of its newest snapshot.
        complete_through: no event up to this moment is missing, unless it was made up for the past.
        records: `events` compared to Kafka.
        skipped: unreadable records below the offsets, as `topic/partition@offset`.
        counts: of `events`, by kind.
        windows: the window tables, by kind.
        expected_row_ids: by kind, ids of the rows that were written with the events below the offsets.
        training: None before the first run of moderation_training.
    """

    offsets: Offsets
    complete_through: datetime
    records: RecordComparison
    skipped: tuple[str, ...]
    counts: Mapping[str, EventCount]
    windows: Mapping[EventKind, Windows]
    expected_row_ids: Mapping[EventKind, Ids]
    training: TrainingRows | None


@dataclass(frozen=True)
class LakehouseReading:
    """The tables, if there are any.

    Attributes:
        versions: metadata file of each table when the reading began: another one means that somebody wrote.
        found: None when `events` has no snapshot of the aggregation yet.
    """

    versions: Mapping[str, str]
    found: Lakehouse | None

    def skipped(self) -> tuple[str, ...]:
        """Sentences about what could not be compared."""
        if self.found is None:
            return (f"the Iceberg tables: {EVENTS} has no snapshot yet, redpanda_event_aggregation has not run",)
        if self.found.training is None:
            return (f"{TRAINING_TABLE}: it does not exist yet, moderation_training has not run",)
        return ()


def read_lakehouse(
    settings: IcebergSettings, history: History, event_ranges: Mapping[Place, Range]
) -> LakehouseReading:
    """Read the tables and compare their records to Kafka's.

    Args:
        settings: where the tables are.
        history: what Kafka holds.
        event_ranges: which of its records were read.

    Raises:
        TransientError: the catalog or the object store is away.
        PermanentError: a file of a table is missing.
    """
    versions = table_versions(settings)
    if EVENTS not in versions:
        return LakehouseReading(versions, None)
    with open_catalog(settings) as catalog:
        return LakehouseReading(versions, _read(catalog, versions, history, event_ranges))


def _read(
    catalog: Catalog, versions: Mapping[str, str], history: History, event_ranges: Mapping[Place, Range]
) -> Lakehouse | None:
    events = catalog.load_table(EVENTS)
    progress, moment = events_progress(events), complete_through(events)
    if progress is None or moment is None:
        return None
    snapshot_id = events.metadata.current_snapshot_id
    records = RecordComparison(history.log, progress.offsets, event_ranges)
    for batch in stream_rows(events, COLUMNS, snapshot_id=snapshot_id):
        records.add(batch)
    return Lakehouse(
        offsets=progress.offsets,
        complete_through=moment,
        records=records,
        skipped=tuple(
            f"{bad.topic}/{bad.partition}@{bad.offset}"
            for bad in history.bad
            if bad.offset < progress.offsets.get(bad.topic, {}).get(bad.partition, 0)
        ),
        counts=event_counts(catalog, snapshot_id),
        windows=_read_windows(catalog, versions, progress.ingested_at),
        expected_row_ids=_row_ids(history, records),
        training=read_training_rows(catalog) if TRAINING_TABLE in versions else None,
    )


def _read_windows(catalog: Catalog, versions: Mapping[str, str], ingested_at: datetime) -> dict[EventKind, Windows]:
    kinds: list[EventKind] = [kind for kind, name in WINDOW_TABLES.items() if name in versions]
    sums = window_sums(catalog, kinds)
    found = dict.fromkeys(WINDOW_TABLES, Windows(None, is_current=False))
    for kind in kinds:
        mark = processed_through(catalog.load_table(WINDOW_TABLES[kind]))
        found[kind] = Windows(sums[kind], is_current=mark is not None and mark >= ingested_at)
    return found


def _row_ids(history: History, records: RecordComparison) -> dict[EventKind, Ids]:
    log = history.log
    below, kinds = records.below()[log.row_of], log.kind[log.row_of]
    return {kind: np.unique(log.row_ids[below & (kinds == KIND_CODES[kind])]) for kind in ROW_ID_COLUMN}
