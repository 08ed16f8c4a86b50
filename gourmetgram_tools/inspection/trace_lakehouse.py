"""One image, or one event, in the Iceberg tables."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression

from gourmetgram.events import EventKind
from gourmetgram.lakehouse.catalog import open_catalog, table_versions
from gourmetgram.lakehouse.filters import at_or_after, between, equals
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES
from gourmetgram.lakehouse.windows import WINDOW_US
from gourmetgram.moments import to_us
from gourmetgram.settings import IcebergSettings
from gourmetgram.training_data.names import FIRST_FLAG, TRAINING_TABLE
from gourmetgram_tools.inspection.trace_kafka import EventRecord

_RECORD_COLUMNS: Final = ("topic", "partition", "offset", "event_time", "ingested_at", "actor_eligible")
_WINDOW_COLUMNS: Final = ("window_start", "window_end", "event_count", "eligible_count")
_TRAINING_COLUMNS: Final = (
    *("decision_point_minutes", "anchor_time", "label_needs_moderation_24h", "label_observed_until"),
    *("views_5min", "comments_5min", "flags_5min", "total_flags"),
    FIRST_FLAG,
)


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
    """A row of `moderation.training_data`; the label is None while it is not known.

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
    """What the tables hold of an image.

    Attributes:
        events: distinct events by kind.
        records: rows of `events`, copies included.
        windows: in the order of time.
        training: in the order of the decision points.
    """

    events: dict[str, int]
    records: int
    windows: list[LakeWindow]
    training: list[LakeTrainingRow]


@dataclass(frozen=True)
class LakeRecord:
    """A row of `event_aggregations.events`, and where its record stood in Kafka."""

    topic: str
    partition: int
    offset: int
    event_time: datetime
    ingested_at: datetime
    actor_eligible: bool


@dataclass(frozen=True)
class LakeEvent:
    """What the tables hold of an event: its copies, and the window that counts it."""

    records: list[LakeRecord]
    window: LakeWindow | None


def read_lake_image(settings: IcebergSettings, image_id: str, since: datetime) -> LakeImage | None:
    """Read what the tables hold of an image; None before the first aggregation.

    Args:
        settings: where the tables are.
        image_id: the image.
        since: no event of it is older.

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
        windows = [
            LakeWindow(kind, **row)
            for kind, name in WINDOW_TABLES.items()
            if name in versions
            for row in _read(
                catalog, name, _WINDOW_COLUMNS, And(of_image, at_or_after("window_start", _window_start(since)))
            )
        ]
        training = _read(catalog, TRAINING_TABLE, _TRAINING_COLUMNS, of_image) if TRAINING_TABLE in versions else []
    distinct = {(row["event_type"], row["event_id"]) for row in seen}
    return LakeImage(
        events=dict(sorted(Counter(kind for kind, _ in distinct).items())),
        records=len(seen),
        windows=sorted(windows, key=lambda window: (window.window_start, window.kind)),
        training=sorted((LakeTrainingRow(**row) for row in training), key=lambda row: row.decision_point_minutes),
    )


def read_lake_event(settings: IcebergSettings, event: EventRecord) -> LakeEvent | None:
    """Read what the tables hold of an event that Kafka holds; None before the first aggregation.

    Raises:
        TransientError: the catalog or the object store is away.
        PermanentError: a file of a table is missing.
    """
    versions = table_versions(settings)
    if EVENTS not in versions:
        return None
    time_us = to_us(event.event_time)
    # Kind and time say which few row groups to read.
    place = And(equals("event_type", event.kind), between("event_time", time_us, time_us + 1))
    start_us = to_us(_window_start(event.event_time))
    in_window = And(equals("image_id", event.image_id), between("window_start", start_us, start_us + 1))
    with open_catalog(settings) as catalog:
        rows = _read(catalog, EVENTS, _RECORD_COLUMNS, And(equals("event_id", event.event_id), place))
        windows = [
            LakeWindow(kind, **row)
            for kind, name in WINDOW_TABLES.items()
            if kind == event.kind and name in versions
            for row in _read(catalog, name, _WINDOW_COLUMNS, in_window)
        ]
    records = sorted((LakeRecord(**row) for row in rows), key=lambda record: (record.ingested_at, record.offset))
    return LakeEvent(records, windows[0] if records and windows else None)


def _read(catalog: Catalog, name: str, columns: tuple[str, ...], row_filter: BooleanExpression) -> list[dict[str, Any]]:
    table = catalog.load_table(name)
    there = [column for column in columns if column != FIRST_FLAG or column in table.schema().column_names]
    rows = stream_rows(table, there, row_filter)
    return [row for batch in rows for row in batch.to_pylist()]


def _window_start(moment: datetime) -> datetime:
    return moment - timedelta(microseconds=to_us(moment) % WINDOW_US)
