"""Counts of the tables' contents, for the audit."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from pyiceberg.catalog import Catalog

from gourmetgram.duckdb_engine import duckdb_engine
from gourmetgram.events import EventKind
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES, WINDOWED_KINDS

_EVENT_COUNTS: Final = """
SELECT event_type, sum(copies)::BIGINT, count(*), count(*) FILTER (WHERE eligible)
FROM (
    SELECT event_type, event_id::UUID AS event_id, count(*) AS copies, bool_and(actor_eligible) AS eligible
    FROM records GROUP BY ALL
)
GROUP BY ALL
"""
_WINDOW_SUMS: Final = """
SELECT count(*), coalesce(sum(event_count), 0)::BIGINT, coalesce(sum(eligible_count), 0)::BIGINT,
       count(*) - count(DISTINCT (image_id, window_start))
FROM records
"""


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


def event_counts(catalog: Catalog, snapshot_id: int | None = None) -> dict[str, EventCount]:
    """Count `events` by kind (view, comment, flag, upload); kinds without an event are left out.

    Args:
        catalog: the Iceberg catalog.
        snapshot_id: None = the current snapshot.
    """
    records = stream_rows(
        catalog.load_table(EVENTS), ["event_type", "event_id", "actor_eligible"], snapshot_id=snapshot_id
    )
    with duckdb_engine() as engine:
        engine.register("records", records)
        return {row[0]: EventCount(*row[1:]) for row in engine.sql(_EVENT_COUNTS).fetchall()}


def window_sums(catalog: Catalog, kinds: Iterable[EventKind] = WINDOWED_KINDS) -> dict[EventKind, WindowSum]:
    """Sum the window tables of some kinds of events."""
    sums: dict[EventKind, WindowSum] = {}
    columns = ["image_id", "window_start", "event_count", "eligible_count"]
    with duckdb_engine() as engine:
        for kind in kinds:
            engine.register("records", stream_rows(catalog.load_table(WINDOW_TABLES[kind]), columns))
            (row,) = engine.sql(_WINDOW_SUMS).fetchall()
            sums[kind] = WindowSum(*row)
            engine.unregister("records")
    return sums
