"""Tasks `write_*_windows`: events per image in windows of 5 minutes, recomputed where new records fell.

A window table has a mark: the newest `ingested_at` of the records that it counts. A run recomputes every window with a
later record, from all records of that window. One commit replaces the rows and moves the mark. So a run may be
repeated, skipped or killed, and late events are counted in their window.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import ibis
import numpy as np
import orjson
import pyarrow as pa
from ibis import ir
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

from gourmetgram.duckdb_engine import MEMORY_LIMIT
from gourmetgram.events import EventKind
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.commits import PreparationClock, refuse_overdue, replace_files, set_properties
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.lakehouse.files import DataFileWriter, WriterLimits, delete_files
from gourmetgram.lakehouse.filters import after, between, equals, on_day
from gourmetgram.lakehouse.maintenance import maintain_quietly
from gourmetgram.lakehouse.outages import ChangedMeanwhileError, named_outages
from gourmetgram.lakehouse.progress import INGESTED_AT, events_progress, summary_of
from gourmetgram.lakehouse.reading import stream_files, stream_rows
from gourmetgram.lakehouse.retention import drop_old_days_quietly
from gourmetgram.lakehouse.schemas import EVENTS, WINDOW_TABLES, WINDOWS_DEFINITION, ensure_tables, open_table
from gourmetgram.moments import DAY_US, parse_utc, utc_text
from gourmetgram.settings import IcebergSettings, OfflineSettings
from gourmetgram.windows import WINDOW_US as WIDTHS_US

log = logging.getLogger(__name__)

WINDOW_US: Final = WIDTHS_US["5min"]
"""Length of a window, microseconds."""

EVENTS_SNAPSHOT: Final = "gourmetgram.events_snapshot_id"
PROCESSED: Final = "gourmetgram.processed"
"""Table property: the mark, and the snapshot that it belongs to. So the mark can move without a snapshot, when new
records touched no window of this kind. After a rollback it does not fit the current snapshot and is ignored."""

_TIME: Final = pa.timestamp("us", tz="UTC")
_SCHEMA: Final = WINDOWS_DEFINITION.arrow_schema

# As UUID, an id takes 16 bytes in DuckDB, not 36.
_EVENTS: Final = ibis.schema({"image_id": "uuid", "event_id": "uuid", "actor_eligible": "boolean", "time_us": "int64"})
_EVENT_COLUMNS: Final = {"time_us": "event_time"}
_TOUCHED: Final = ibis.schema({"window_us": "int64"})


@dataclass(frozen=True)
class WindowsResult:
    """Result of a run.

    Attributes:
        table: name of the window table.
        windows: number of recomputed windows of 5 minutes.
        rows: number of their rows (image and window) afterwards.
        snapshot_id: the new snapshot; None when no window was touched.
        seconds: duration.
    """

    table: str
    windows: int
    rows: int
    snapshot_id: int | None
    seconds: float


def write_windows(
    settings: IcebergSettings, kind: EventKind, offline_settings: OfflineSettings | None = None
) -> WindowsResult:
    """Recompute every window of one kind of event that a record touched since the last run, and replace its rows.

    Args:
        settings: where the tables are.
        kind: view, comment or flag.
        offline_settings: names the engine that counts; None = DuckDB.

    Raises:
        TransientError: a server is away, or another run changed the table first; nothing was changed: run again.
    """
    started = time.monotonic()
    name = WINDOW_TABLES[kind]
    with open_catalog(settings) as catalog, named_outages(f"{name} could not be written"):
        ensure_tables(catalog)
        events, windows = catalog.load_table(EVENTS), open_table(catalog, name)
        # Before the recomputation, which then moves the mark to the present.
        drop_old_days_quietly(windows, settings.lake_retention_days)
        log.debug("Step done: tables loaded")
        count, rows, snapshot_id = _Rewrite(catalog, events, windows, kind, offline_settings).perform()
        result = WindowsResult(name, count, rows, snapshot_id, time.monotonic() - started)
        log.info("%s: %d windows recomputed into %d rows, %.1f s", name, count, rows, result.seconds)
        maintain_quietly(catalog.load_table(name))
        return result


class _Rewrite:
    """One run on the snapshots that `events` and `windows` had when they were loaded."""

    def __init__(
        self, catalog: Catalog, events: Table, windows: Table, kind: EventKind, offline_settings: OfflineSettings | None
    ) -> None:
        self._catalog = catalog
        self._offline_settings = offline_settings
        self._events = events
        self._windows = windows
        self._kind = kind
        self._processed_at = datetime.now(UTC)
        self._clock = PreparationClock()
        self._rows = 0

    def perform(self) -> tuple[int, int, int | None]:
        """Recompute the touched windows.

        Returns:
            The number of windows, of their rows, and the new snapshot's id if there is one.
        """
        progress = events_progress(self._events)
        mark = processed_through(self._windows)
        if progress is None or (mark is not None and mark >= progress.ingested_at):
            return 0, 0, None
        touched = self._touched(mark)
        log.debug("Step done: windows found")
        if len(touched) == 0:
            set_properties(self._windows, _processed(self._windows.metadata.current_snapshot_id, progress.ingested_at))
            log.debug("Step done: mark moved")
            return 0, 0, None
        old, new = self._write(touched)
        log.debug("Step done: files written")
        refuse_overdue(self._clock)
        summary = {**progress.summary(), EVENTS_SNAPSHOT: str(self._events.metadata.current_snapshot_id)}
        try:
            snapshot_id = replace_files(self._windows, old, new, summary, {})
        except ChangedMeanwhileError:
            delete_files(self._windows, (file.file_path for file in new))
            raise
        log.debug("Step done: committed")
        return len(touched), self._rows, snapshot_id

    def _touched(self, mark: datetime | None) -> NDArray[np.int64]:
        """Starts, in microseconds and sorted, of the windows with a record after the mark."""
        of_kind = equals("event_type", self._kind)
        row_filter = of_kind if mark is None else And(of_kind, after("ingested_at", mark))
        starts = np.empty(0, np.int64)
        for batch in stream_rows(self._events, ["event_time"], row_filter):
            times = batch["event_time"].cast(pa.int64()).to_numpy()
            # Floor division rounds down for times before 1970, too.
            starts = np.union1d(starts, times // WINDOW_US * WINDOW_US)
        return starts

    def _write(self, touched: NDArray[np.int64]) -> tuple[list[DataFile], list[DataFile]]:
        """Rewrite the files of each touched day; returns the replaced files, and the new ones."""
        old: list[DataFile] = []
        writer = DataFileWriter(self._windows, WINDOWS_DEFINITION)
        try:
            with open_engine(self._catalog, self._offline_settings, MEMORY_LIMIT) as engine:
                for starts in _rounds(touched, 1 if engine.slice_rows else WriterLimits().open_files):
                    files = [file for day in np.unique(starts // DAY_US).tolist() for file in self._files_of_day(day)]
                    old += files
                    for rows in self._kept(files, starts):
                        writer.write(rows)
                    for rows in self._recomputed(engine, starts):
                        self._rows += rows.num_rows
                        writer.write(rows)
                    log.debug("Step done: days written")
            return old, writer.finish()
        except BaseException:
            writer.discard()
            raise

    def _files_of_day(self, day: int) -> list[DataFile]:
        """The window table's files of a day (since 1970, UTC)."""
        return [task.file for task in self._windows.scan(row_filter=on_day("window_start", day)).plan_files()]

    def _kept(self, files: Sequence[DataFile], starts: NDArray[np.int64]) -> Iterator[pa.Table]:
        """Rows of these files whose windows were not touched."""
        for batch in stream_files(self._windows, files, _SCHEMA.names):
            of_touched = np.isin(batch["window_start"].cast(pa.int64()).to_numpy(), starts)
            yield pa.Table.from_batches([batch]).filter(pa.array(~of_touched))

    def _recomputed(self, engine: Engine, starts: NDArray[np.int64]) -> Iterator[pa.Table]:
        """Rows of the windows that begin at `starts`, counted from the events."""
        whole = And(equals("event_type", self._kind), between("event_time", starts[0], starts[-1] + WINDOW_US))
        slices = 1
        if engine.slice_rows is not None:
            # The files' own counts: they include all kinds and the whole day, so this is an upper bound.
            expected = sum(task.file.record_count for task in self._events.scan(row_filter=whole).plan_files())
            slices = min(len(starts), -(-expected // engine.slice_rows))
        for part in np.array_split(starts, max(1, slices)):
            in_slice = between("event_time", part[0], part[-1] + WINDOW_US)
            row_filter = And(equals("event_type", self._kind), in_slice)
            events = engine.load_snapshot("bronze", _EVENTS, self._events, row_filter, renamed=_EVENT_COLUMNS)
            touched = engine.load("touched", _TOUCHED, pa.table({"window_us": pa.array(part, pa.int64())}))
            for counts in engine.batches(window_counts(events, touched)):
                yield self._as_rows(counts)

    def _as_rows(self, counts: pa.RecordBatch) -> pa.Table:
        start = counts["window_us"]
        end = pa.array(start.to_numpy() + WINDOW_US)
        processed_at = pa.repeat(pa.scalar(self._processed_at, _TIME), counts.num_rows)
        return pa.table(
            {
                "image_id": counts["image_id"],
                "window_start": start.cast(_TIME),
                "window_end": end.cast(_TIME),
                "event_count": counts["event_count"],
                "eligible_count": counts["eligible_count"],
                "processed_at": processed_at,
            }
        )


def _rounds(touched: NDArray[np.int64], days_at_once: int) -> Iterator[NDArray[np.int64]]:
    """The starts of some days' windows at a time."""
    days = np.unique(touched // DAY_US)
    for first in range(0, len(days), days_at_once):
        yield touched[np.isin(touched // DAY_US, days[first : first + days_at_once])]


def processed_through(windows: Table) -> datetime | None:
    """Mark of a window table: all records with `ingested_at` up to it are counted; None = recompute all."""
    text = windows.properties.get(PROCESSED)
    if text is not None:
        document = orjson.loads(text)
        if document["snapshot_id"] == windows.metadata.current_snapshot_id:
            return parse_utc(document["ingested_at"])
    for snapshot in ancestors_of(windows.current_snapshot(), windows.metadata):
        summary = summary_of(snapshot)
        if INGESTED_AT in summary:
            return parse_utc(summary[INGESTED_AT])
    return None


def _processed(snapshot_id: int | None, mark: datetime) -> dict[str, str]:
    document: dict[str, Any] = {"snapshot_id": snapshot_id, "ingested_at": utc_text(mark)}
    return {PROCESSED: orjson.dumps(document).decode()}


def window_counts(events: ir.Table, touched: ir.Table) -> ir.Table:
    """Events by image and window.

    Args:
        events: `image_id`, `event_id`, `actor_eligible` and `time_us`; duplicates of an event are identical.
        touched: `window_us`, the starts of the windows to count.

    Returns:
        `image_id` as a text, `window_us`, `event_count` and `eligible_count`, both of distinct events.
    """
    timed = events.mutate(window_us=events.time_us // WINDOW_US * WINDOW_US).semi_join(touched, "window_us")
    # One row per event first. A single step that groups by image, window and event took twice the time.
    distinct = timed.group_by("event_id").agg(
        image_id=timed.image_id.max(), window_us=timed.window_us.max(), eligible=timed.actor_eligible.all()
    )
    counts = distinct.group_by("image_id", "window_us").agg(
        event_count=distinct.count(), eligible_count=distinct.count(where=distinct.eligible)
    )
    return counts.mutate(image_id=counts.image_id.cast("string"))
