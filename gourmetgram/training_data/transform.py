"""Transforms the raw extract and the event history into all rows of `moderation.training_data`.

The result is the whole table, in one file. Final rows of earlier runs are copied, all others are computed. A row is
final once its label horizon, 24 hours after the upload, is over. So a run computes the anchors of the last day, and
reads only the events of their windows.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import ibis
import orjson
import pyarrow as pa
from ibis import ir
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError
from gourmetgram.features import offline
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.lakehouse.filters import between
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.moments import HOUR_US, to_us, utc_text
from gourmetgram.scratch import scratch_folder
from gourmetgram.settings import OfflineSettings
from gourmetgram.training_data import names
from gourmetgram.training_data import rows as training
from gourmetgram.training_data.extract import EXTRACTED_AT, EXTRACTION_ID, write_parquet
from gourmetgram.training_data.inputs import (
    RawFiles,
    fetch_raw_files,
    load_events,
    load_no_events,
    load_raw_rows,
    load_uploaded_images,
    open_event_history,
)
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.table import ARROW_SCHEMA, find_training_table, load_stored_rows

log = logging.getLogger(__name__)

PROCESSED_FILE: Final = "processed/training_data.parquet"
EVENTS_SNAPSHOT_ID: Final = names.EVENTS_SNAPSHOT_ID
ROWS_KEPT: Final = names.ROWS_KEPT
ROWS_DROPPED: Final = "gourmetgram.rows_dropped"


class Transformation(NamedTuple):
    """Result of a transformation.

    Attributes:
        extracted_at: moment of the raw extract, UTC.
        events_snapshot_id: snapshot of the event history, None when it has none yet.
        kept: number of rows, final ones of earlier runs included.
        carried: number of final rows of earlier runs among them.
        dropped: number of anchors without a row, by each of `rows.DROP_REASONS`.
    """

    extraction_id: str
    extracted_at: datetime
    events_snapshot_id: int | None
    kept: int
    carried: int
    dropped: dict[str, int]

    def metadata(self) -> dict[str, str]:
        """Properties of the file, and of the table's snapshot."""
        return {
            EXTRACTION_ID: self.extraction_id,
            EXTRACTED_AT: utc_text(self.extracted_at),
            EVENTS_SNAPSHOT_ID: "" if self.events_snapshot_id is None else str(self.events_snapshot_id),
            ROWS_KEPT: str(self.kept),
            ROWS_DROPPED: orjson.dumps(self.dropped).decode(),
        }


def transform(lake: Lake, catalog: Catalog, offline_settings: OfflineSettings | None = None) -> Transformation:
    """Compute the training rows and store them as `processed/training_data.parquet`.

    Args:
        lake: holds the raw files, and gets the result.
        catalog: holds the event history and the rows of earlier runs.
        offline_settings: names the engine; None = DuckDB.

    Raises:
        PermanentError: the raw files are missing, unreadable or of different extractions, or there are images but no
            event history yet.
        TransientError: the object store is away.
    """
    with scratch_folder("transform") as folder:
        with open_engine(catalog, offline_settings) as engine:
            files = fetch_raw_files(lake, folder)
            result = _Run(engine, catalog, files).write(folder / "rows.parquet")
        lake.upload(folder / "rows.parquet", PROCESSED_FILE)
    _report(result)
    return result


class _Run:
    """One transformation: tables in the engine, filled step by step."""

    def __init__(self, engine: Engine, catalog: Catalog, files: RawFiles) -> None:
        self._engine = engine
        self._files = files
        self._raw = load_raw_rows(engine, files)
        self._history = open_event_history(catalog)
        if self._history is None and engine.scalar(self._raw.images.count()) > 0:
            raise PermanentError(
                f"there are images, but {EVENTS} does not exist yet: run redpanda_event_aggregation first"
            )
        with named_outages("the rows of earlier runs could not be read"):
            self._stored = load_stored_rows(engine, "stored", find_training_table(catalog))

    def write(self, path: Path) -> Transformation:
        """Compute all rows, and write them in the order of their anchors."""
        engine = self._engine
        points = engine.materialise("points", self._points())
        carried = engine.materialise("carried", self._carried(points))
        open_points = points.anti_join(carried, ["image_id", "decision_point_minutes"])
        judged = engine.materialise("judged", self._with_upload_reason(open_points))
        computed = engine.materialise("computed", self._computed(judged.filter(judged.reason.isnull())))
        rows = carried.union(computed)
        result = Transformation(
            extraction_id=self._files.extraction_id,
            extracted_at=self._files.extracted_at,
            events_snapshot_id=self._history.snapshot_id if self._history else None,
            kept=engine.scalar(rows.count()),
            carried=engine.scalar(carried.count()),
            dropped=self._dropped(judged),
        )
        ordered = rows.order_by("anchor_time", "image_id", "decision_point_minutes")
        write_parquet(path, _with_times(engine.batches(ordered)), ARROW_SCHEMA, result.metadata())
        return result

    def _points(self) -> ir.Table:
        complete_through = self._history.complete_through if self._history else self._files.extracted_at
        return training.anchors(
            self._raw.images, self._raw.users, to_us(self._files.extracted_at), to_us(complete_through)
        )

    def _carried(self, points: ir.Table) -> ir.Table:
        """Final rows of earlier runs whose image may still be used."""
        usable = points.filter(~points.reason.fill_null("").isin(training.GOVERNANCE_REASONS)).select("image_id")
        final = training.final_rows(self._stored).semi_join(usable.distinct(), "image_id")
        return training.with_first_flags(final, self._raw.flags)

    def _with_upload_reason(self, points: ir.Table) -> ir.Table:
        """Add the last reason, which needs the event history."""
        if self._history is None:
            return points
        uploaded = load_uploaded_images(self._engine, "uploads", self._history).rename(uploaded_id="image_id")
        marked = points.left_join(uploaded, points.image_id == uploaded.uploaded_id)
        missing = ibis.cases((marked.uploaded_id.isnull(), training.NO_UPLOAD_EVENT), else_=ibis.null("string"))
        return marked.mutate(reason=ibis.coalesce(marked.reason, missing)).drop("uploaded_id")

    def _computed(self, points: ir.Table) -> ir.Table:
        inputs = offline.feature_inputs(
            points.select("point_id", "image_id", "time_us"),
            self._events_in_windows(points),
            self._raw.users,
            self._raw.images,
            self._raw.flags,
        )
        labelled = training.labels(points, self._raw.flags, to_us(self._files.extracted_at))
        return training.training_rows(offline.with_features(inputs), labelled, points)

    def _events_in_windows(self, points: ir.Table) -> ir.Table:
        """Load only the part of the history that the points' windows cover."""
        first, last = self._engine.scalar(points.time_us.min()), self._engine.scalar(points.time_us.max())
        if self._history is None or first is None:
            return load_no_events(self._engine, "events")
        # (first - 1 h, last], in whole microseconds.
        reach = between("event_time", first - HOUR_US + 1, last + 1)
        return load_events(self._engine, "events", self._history, reach)

    def _dropped(self, judged: ir.Table) -> dict[str, int]:
        counted = self._engine.rows(judged.filter(judged.reason.notnull()).group_by("reason").agg(n=ibis._.count()))
        found = dict(zip(counted["reason"].to_pylist(), counted["n"].to_pylist(), strict=True))
        return {reason: found.get(reason, 0) for reason in training.DROP_REASONS}


def _with_times(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The rows in the table's own types: int64 microseconds become timestamps."""
    return (batch.cast(ARROW_SCHEMA) for batch in batches)


def _report(result: Transformation) -> None:
    log.info(
        "Training rows as of %s: %d kept (%d of them final in earlier runs), dropped %s",
        result.extracted_at.isoformat(),
        result.kept,
        result.carried,
        ", ".join(f"{reason} {count}" for reason, count in result.dropped.items()),
    )
    waiting = result.dropped[training.NOT_AGGREGATED]
    if waiting:
        log.warning("%d anchors wait for redpanda_event_aggregation to catch up; the next run takes them", waiting)
