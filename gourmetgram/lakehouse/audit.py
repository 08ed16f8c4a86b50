"""Counts of the tables' contents, for the audit."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import ibis
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from gourmetgram.duckdb_engine import MEMORY_LIMIT
from gourmetgram.events import EventKind
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES, WINDOWED_KINDS
from gourmetgram.settings import OfflineSettings

_EVENTS: Final = ibis.schema({"event_type": "string", "event_id": "string", "actor_eligible": "boolean"})
_WINDOWS: Final = ibis.schema(
    {"image_id": "string", "window_us": "int64", "event_count": "int64", "eligible_count": "int64"}
)


class EventCount(NamedTuple):
    """Counts of one kind of event in `events`.

    Attributes:
        records: rows, duplicates included.
        events: distinct events.
        eligible: distinct events of eligible actors.
    """

    records: int = 0
    events: int = 0
    eligible: int = 0


class WindowSum(NamedTuple):
    """Sums of one window table.

    Attributes:
        rows: number of rows.
        events: sum of `event_count`.
        eligible: sum of `eligible_count`.
        repeated: rows beyond the first of an image and window; 0 in a correct table.
    """

    rows: int
    events: int
    eligible: int
    repeated: int


def event_counts(
    catalog: Catalog, snapshot_id: int | None = None, offline_settings: OfflineSettings | None = None
) -> dict[str, EventCount]:
    """Count `events` by kind (view, comment, flag, upload); kinds without an event are left out.

    Args:
        catalog: the Iceberg catalog.
        snapshot_id: None = the current snapshot.
        offline_settings: names the engine; None = DuckDB.
    """
    with open_engine(catalog, offline_settings, MEMORY_LIMIT) as engine:
        records = engine.load_snapshot("records", _EVENTS, catalog.load_table(EVENTS), snapshot_id=snapshot_id)
        copies = records.group_by("event_type", "event_id").agg(
            copies=records.count(), eligible=records.actor_eligible.all()
        )
        counts = copies.group_by("event_type").agg(
            records=copies.copies.sum().cast("int64"),
            events=copies.count(),
            eligible=copies.count(where=copies.eligible),
        )
        return {row.pop("event_type"): EventCount(**row) for row in engine.rows(counts).to_pylist()}


def window_sums(
    catalog: Catalog, kinds: Iterable[EventKind] = WINDOWED_KINDS, offline_settings: OfflineSettings | None = None
) -> dict[EventKind, WindowSum]:
    """Sum the window tables of some kinds of events; `offline_settings` names the engine, None = DuckDB."""
    with open_engine(catalog, offline_settings, MEMORY_LIMIT) as engine:
        return {kind: _window_sum(engine, catalog.load_table(WINDOW_TABLES[kind])) for kind in kinds}


def _window_sum(engine: Engine, table: Table) -> WindowSum:
    records = engine.load_snapshot("records", _WINDOWS, table, renamed={"window_us": "window_start"})
    windows = records.select("image_id", "window_us").distinct()
    sums = records.agg(
        rows=records.count(),
        events=ibis.coalesce(records.event_count.sum(), 0).cast("int64"),
        eligible=ibis.coalesce(records.eligible_count.sum(), 0).cast("int64"),
    )
    (row,) = engine.rows(sums).to_pylist()
    return WindowSum(**row, repeated=row["rows"] - engine.scalar(windows.count()))
