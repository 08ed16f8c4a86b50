"""Reader of the Iceberg tables: rows of one image or event for a trace, or all rows for the audit."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

from gourmetgram.events import EventKind
from gourmetgram.lakehouse.audit import window_sums
from gourmetgram.lakehouse.catalog import open_catalog, table_versions
from gourmetgram.lakehouse.filters import at_or_after, between, equals
from gourmetgram.lakehouse.progress import complete_through, events_progress, summary_of
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES
from gourmetgram.lakehouse.windows import WINDOW_US, processed_through
from gourmetgram.moments import parse_utc, to_us
from gourmetgram.settings import IcebergSettings
from gourmetgram.training_data.names import EXTRACTED_AT, FIRST_FLAG, ROWS_KEPT, TRAINING_TABLE
from gourmetgram_tools.inspection.kafka_records import EventRecord
from gourmetgram_tools.inspection.tables import StoreTables

_RECORD_COLUMNS: Final = ("topic", "partition", "offset", "event_time", "ingested_at", "actor_eligible")
_WINDOW_COLUMNS: Final = ("window_start", "window_end", "event_count", "eligible_count")
_TRAINING_COLUMNS: Final = (
    *("decision_point_minutes", "anchor_time", "label_needs_moderation_24h", "label_observed_until"),
    *("views_5min", "comments_5min", "flags_5min", "total_flags"),
    FIRST_FLAG,
)

AUDITED_COLUMNS: Final = (
    *("event_id", "event_type", "image_id", "comment_id", "flag_id", "actor_eligible", "event_time"),
    *("topic", "partition", "offset"),
)
"""Columns of `events` that the audit compares."""

# A manual id may be any text; only a hyphenated UUID names a row.
AUDITED_EVENTS: Final = """
SELECT topic, partition, "offset", epoch_us(event_time), event_type, try_cast(event_id AS UUID),
       try_cast(image_id AS UUID), CASE WHEN length(row_id) = 36 THEN try_cast(row_id AS UUID) END, actor_eligible
FROM (
    SELECT *, CASE event_type WHEN 'comment' THEN comment_id WHEN 'flag' THEN flag_id WHEN 'upload' THEN image_id END
              AS row_id
    FROM loading
)
"""
"""DuckDB query that makes rows of table `lake_events` of these columns, called `loading`."""

# A flag sets the label; a label may lack the flag's time, when that is no longer known.
_TRAINING: Final = """
SELECT image_id::UUID, decision_point_minutes, epoch_us(anchor_time), first_flagged_at IS NULL OR (
    label_needs_moderation_24h IS NOT DISTINCT FROM 1
    AND first_flagged_at > anchor_time AND first_flagged_at <= label_observed_until)
FROM loading
"""
_TRAINING_WITHOUT_FLAGS: Final = """
SELECT image_id::UUID, decision_point_minutes, epoch_us(anchor_time), true FROM loading
"""


@dataclass(frozen=True)
class LakeWindow:
    """A row of a window table."""

    kind: EventKind
    window_start: datetime
    window_end: datetime
    event_count: int
    eligible_count: int


@dataclass(frozen=True)
class LakeTrainingRow:
    """A row of `moderation.training_data`; the label is None while it is unknown.

    Attributes:
        first_flagged_at: None without a counted flag after the anchor, and in tables of earlier versions.
    """

    decision_point_minutes: int
    anchor_time: datetime
    label_needs_moderation_24h: int | None
    label_observed_until: datetime
    views_5min: int
    comments_5min: int
    flags_5min: int
    total_flags: int
    first_flagged_at: datetime | None = None


@dataclass(frozen=True)
class LakeImage:
    """Content of the tables about an image.

    Attributes:
        events: distinct events by kind.
        records: number of rows of `events`, duplicates included.
        windows: window rows in the order of time.
        training: training rows in the order of the decision points.
    """

    events: dict[str, int]
    records: int
    windows: list[LakeWindow]
    training: list[LakeTrainingRow]


@dataclass(frozen=True)
class LakeRecord:
    """A row of `event_aggregations.events`, with topic, partition and offset of its record."""

    topic: str
    partition: int
    offset: int
    event_time: datetime
    ingested_at: datetime
    actor_eligible: bool


@dataclass(frozen=True)
class LakeEvent:
    """Content of the tables about an event: its records, and the window that counts it."""

    records: list[LakeRecord]
    window: LakeWindow | None


@dataclass(frozen=True)
class LakeReading:
    """State of the tables that the audit read.

    Attributes:
        versions: metadata file of each table at the beginning; another one afterwards means a commit.
        has_events: True when `events` has a snapshot of the aggregation.
        has_training: True when the table of training rows has one.
    """

    versions: Mapping[str, str]
    has_events: bool
    has_training: bool

    def skipped(self) -> tuple[str, ...]:
        """Sentences about tables that could not be compared."""
        if not self.has_events:
            return (f"the Iceberg tables: {EVENTS} has no snapshot yet, redpanda_event_aggregation has not run",)
        if not self.has_training:
            return (f"{TRAINING_TABLE}: it does not exist yet, moderation_training has not run",)
        return ()


def read_lake_image(settings: IcebergSettings, image_id: str, since: datetime) -> LakeImage | None:
    """Read the rows about an image; None before the first aggregation.

    Args:
        settings: address of the tables.
        image_id: the image.
        since: lower bound of its event times.

    Raises:
        TransientError: the catalog or the object store is away.
        PermanentError: a file of a table is missing.
    """
    versions = table_versions(settings)
    if EVENTS not in versions:
        return None
    of_image = equals("image_id", image_id)
    with open_catalog(settings) as catalog:
        seen = _read(catalog, EVENTS, ("event_type", "event_id"), And(of_image, at_or_after("event_time", since)))
        windows = _windows(
            catalog, versions, WINDOW_TABLES, And(of_image, at_or_after("window_start", _window_start(since)))
        )
        training = _read(catalog, TRAINING_TABLE, _TRAINING_COLUMNS, of_image) if TRAINING_TABLE in versions else []
    distinct = {(row["event_type"], row["event_id"]) for row in seen}
    return LakeImage(
        events=dict(sorted(Counter(kind for kind, _ in distinct).items())),
        records=len(seen),
        windows=sorted(windows, key=lambda window: (window.window_start, window.kind)),
        training=sorted((LakeTrainingRow(**row) for row in training), key=lambda row: row.decision_point_minutes),
    )


def read_lake_event(settings: IcebergSettings, event: EventRecord) -> LakeEvent | None:
    """Read the rows about an event that Kafka holds; None before the first aggregation.

    Raises:
        TransientError: the catalog or the object store is away.
        PermanentError: a file of a table is missing.
    """
    versions = table_versions(settings)
    if EVENTS not in versions:
        return None
    time_us = to_us(event.event_time)
    # Kind and time limit the reading to a few row groups.
    place = And(equals("event_type", event.kind), between("event_time", time_us, time_us + 1))
    start_us = to_us(_window_start(event.event_time))
    in_window = And(equals("image_id", event.image_id), between("window_start", start_us, start_us + 1))
    kinds: list[EventKind] = [kind for kind in WINDOW_TABLES if kind == event.kind]
    with open_catalog(settings) as catalog:
        rows = _read(catalog, EVENTS, _RECORD_COLUMNS, And(equals("event_id", event.event_id), place))
        windows = _windows(catalog, versions, kinds, in_window)
    records = sorted((LakeRecord(**row) for row in rows), key=lambda record: (record.ingested_at, record.offset))
    return LakeEvent(records, windows[0] if records and windows else None)


def load_lakehouse(tables: StoreTables, settings: IcebergSettings) -> LakeReading:
    """Fill the tables `lake_*` and `training`, batch by batch.

    Raises:
        TransientError: the catalog or the object store is away.
        PermanentError: a file of a table is missing.
    """
    versions = table_versions(settings)
    if EVENTS not in versions:
        return LakeReading(versions, has_events=False, has_training=False)
    with open_catalog(settings) as catalog:
        events = catalog.load_table(EVENTS)
        progress, moment = events_progress(events), complete_through(events)
        if progress is None or moment is None:
            return LakeReading(versions, has_events=False, has_training=False)
        tables.define(complete_through_us=to_us(moment), complete_through=moment.isoformat())
        offsets = progress.offsets.items()
        tables.load("lake_offsets", ((topic, *each) for topic, partitions in offsets for each in partitions.items()))
        tables.load_arrow("lake_events", stream_rows(events, AUDITED_COLUMNS), AUDITED_EVENTS)
        kinds: list[EventKind] = [kind for kind, name in WINDOW_TABLES.items() if name in versions]
        for kind, sums in window_sums(catalog, kinds).items():
            mark = processed_through(catalog.load_table(WINDOW_TABLES[kind]))
            is_current = mark is not None and mark >= progress.ingested_at
            row = (kind, WINDOW_TABLES[kind], sums.events, sums.eligible, sums.repeated, is_current)
            tables.load("lake_windows", [row])
        missing = [(kind, name, *[None] * 4) for kind, name in WINDOW_TABLES.items() if kind not in kinds]
        tables.load("lake_windows", missing)
        if TRAINING_TABLE in versions:
            _load_training(tables, catalog.load_table(TRAINING_TABLE))
        return LakeReading(versions, has_events=True, has_training=TRAINING_TABLE in versions)


def _load_training(tables: StoreTables, table: Table) -> None:
    """Load keys, anchors and labels; `skew` compares the features."""
    extracted_at = table.properties.get(EXTRACTED_AT)
    summaries = map(summary_of, ancestors_of(table.current_snapshot(), table.metadata))
    kept = next((int(summary[ROWS_KEPT]) for summary in summaries if ROWS_KEPT in summary), -1)
    # Without a time of the extract, any deletion counts as an earlier one.
    extracted_us = to_us(parse_utc(extracted_at)) if extracted_at else 2**62
    tables.define(training_kept=kept, extracted_us=extracted_us)
    columns = ["image_id", "decision_point_minutes", "anchor_time"]
    if FIRST_FLAG not in table.schema().column_names:
        tables.load_arrow("training", stream_rows(table, columns), _TRAINING_WITHOUT_FLAGS)
        return
    columns += ["label_needs_moderation_24h", "label_observed_until", FIRST_FLAG]
    tables.load_arrow("training", stream_rows(table, columns), _TRAINING)


def _windows(
    catalog: Catalog, versions: Mapping[str, str], kinds: Iterable[EventKind], row_filter: BooleanExpression
) -> list[LakeWindow]:
    return [
        LakeWindow(kind, **row)
        for kind in kinds
        if WINDOW_TABLES[kind] in versions
        for row in _read(catalog, WINDOW_TABLES[kind], _WINDOW_COLUMNS, row_filter)
    ]


def _read(catalog: Catalog, name: str, columns: tuple[str, ...], row_filter: BooleanExpression) -> list[dict[str, Any]]:
    table = catalog.load_table(name)
    there = [column for column in columns if column != FIRST_FLAG or column in table.schema().column_names]
    rows = stream_rows(table, there, row_filter)
    return [row for batch in rows for row in batch.to_pylist()]


def _window_start(moment: datetime) -> datetime:
    return moment - timedelta(microseconds=to_us(moment) % WINDOW_US)
