"""The processed rows become the content of `moderation.training_data`, in one commit.

Only changed days are replaced. A run with the same rows commits nothing.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import ir
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.commits import begin
from gourmetgram.lakehouse.engine import Engine, open_engine
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.moments import DAY_US, from_us, parse_utc
from gourmetgram.scratch import scratch_folder
from gourmetgram.settings import OfflineSettings
from gourmetgram.training_data.extract import EXTRACTED_AT, EXTRACTION_ID
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.names import ERASED_AT, ROWS_REMOVED_AT
from gourmetgram.training_data.retention import keep_history
from gourmetgram.training_data.table import ARROW_SCHEMA, ensure_training_table, load_file_rows, load_stored_rows
from gourmetgram.training_data.transform import EVENTS_SNAPSHOT_ID, PROCESSED_FILE, ROWS_DROPPED, ROWS_KEPT

log = logging.getLogger(__name__)

SUMMARY_KEYS: Final = (EXTRACTION_ID, EXTRACTED_AT, EVENTS_SNAPSHOT_ID, ROWS_KEPT, ROWS_DROPPED)
"""Metadata of the processed file, copied to the table's snapshot."""

_CHUNK_ROWS: Final = 500_000
# Evaluating a filter of more parts would take longer than writing the files between them.
_MAX_SPANS: Final = 60


class Load(NamedTuple):
    """Result of a load.

    Attributes:
        rows: rows of the table afterwards.
        removed: rows that were removed or had another value before.
        added: rows that are new or have another value now.
        snapshot_id: the table's snapshot afterwards; None while the table has never had a row.
    """

    rows: int
    removed: int
    added: int
    snapshot_id: int | None


class _Change(NamedTuple):
    """Differences between the table and the file.

    Attributes:
        removed: rows of the table that the file lacks.
        added: rows of the file that the table lacks.
        days: days (since the epoch) of the differing anchors.
        removed_images: images that have no row any more.
    """

    removed: int
    added: int
    days: list[int]
    removed_images: int


def load(lake: Lake, catalog: Catalog, offline_settings: OfflineSettings | None = None) -> Load:
    """Make the table's content equal to `processed/training_data.parquet`.

    Args:
        lake: holds the file.
        catalog: holds the table.
        offline_settings: names the engine that compares the rows; None = DuckDB.

    Raises:
        PermanentError: the file is missing, unreadable, or older than the table's content.
        TransientError: the object store is away, or another writer changed the table at the same time.
    """
    with scratch_folder("load") as folder:
        path = folder / "rows.parquet"
        lake.download(PROCESSED_FILE, path)
        summary = _summary_of(path)
        with (
            named_outages("moderation.training_data could not be written"),
            open_engine(catalog, offline_settings) as engine,
        ):
            table = ensure_training_table(catalog)
            _refuse_older(table, summary)
            _refuse_erased(lake, table, summary)
            keep_history(catalog, summary)
            result = _replace(engine, table, path, summary)
    log.info(
        "moderation.training_data: %d rows (%d removed, %d added), snapshot %s",
        result.rows,
        result.removed,
        result.added,
        result.snapshot_id,
    )
    return result


def _summary_of(path: Path) -> dict[str, str]:
    """The run's summary in the file, after a check that `transform` wrote the file."""
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise PermanentError(f"{PROCESSED_FILE} cannot be read: {error}") from error
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    if not schema.equals(ARROW_SCHEMA) or any(key not in metadata for key in SUMMARY_KEYS):
        raise PermanentError(f"{PROCESSED_FILE} is not a file of transform_features: run that task again")
    return {key: metadata[key] for key in SUMMARY_KEYS}


def _refuse_older(table: Table, summary: dict[str, str]) -> None:
    """Refuse a file that is older than the table's content: it would undo final rows of a later run."""
    loaded = table.properties.get(EXTRACTED_AT)
    if loaded and parse_utc(summary[EXTRACTED_AT]) < parse_utc(loaded):
        raise PermanentError(
            f"{PROCESSED_FILE} is of the extract of {summary[EXTRACTED_AT]}, but the table already holds that of "
            f"{loaded}: run extract_data and transform_features again"
        )


def _refuse_erased(lake: Lake, table: Table, summary: dict[str, str]) -> None:
    """Refuse a file that may hold rows which were erased since its extract, and delete it."""
    erased = table.properties.get(ERASED_AT)
    if erased and parse_utc(summary[EXTRACTED_AT]) < parse_utc(erased):
        lake.remove([PROCESSED_FILE])
        raise PermanentError(
            f"{PROCESSED_FILE} is of the extract of {summary[EXTRACTED_AT]}, and rows were erased at {erased}: "
            "run extract_data and transform_features again"
        )


def _replace(engine: Engine, table: Table, path: Path, summary: dict[str, str]) -> Load:
    stored = load_stored_rows(engine, "stored", table)
    wanted = load_file_rows(engine, "wanted", path)
    change = _change(engine, stored, wanted)
    if change is not None:
        _commit(engine, table, stored, wanted, change, summary)
    snapshot = table.current_snapshot()
    return Load(
        rows=engine.scalar(wanted.count()),
        removed=change.removed if change else 0,
        added=change.added if change else 0,
        snapshot_id=snapshot.snapshot_id if snapshot else None,
    )


def _change(engine: Engine, stored: ir.Table, wanted: ir.Table) -> _Change | None:
    """Compare all rows in all columns; null equals null here."""
    removed = engine.materialise("removed", stored.difference(wanted))
    added = engine.materialise("added", wanted.difference(stored))
    changed = removed.union(added)
    days = engine.rows(changed.select(day=changed.anchor_time // DAY_US).distinct())["day"].to_pylist()
    if not days:
        return None
    gone = removed.select("image_id").distinct().anti_join(wanted, "image_id")
    return _Change(
        engine.scalar(removed.count()), engine.scalar(added.count()), sorted(days), engine.scalar(gone.count())
    )


def _commit(
    engine: Engine, table: Table, stored: ir.Table, wanted: ir.Table, change: _Change, summary: dict[str, str]
) -> None:
    """Replace the changed days: whole files, because the table is partitioned by day."""
    spans = _spans(change.days)
    outdated = engine.scalar(stored.filter(_in_spans(stored.anchor_time, spans)).count())
    new = wanted.filter(_in_spans(wanted.anchor_time, spans))
    new = new.order_by("anchor_time", "image_id", "decision_point_minutes")
    properties = {EXTRACTED_AT: summary[EXTRACTED_AT]}
    if change.removed_images:
        properties[ROWS_REMOVED_AT] = summary[EXTRACTED_AT]
    with begin(table) as transaction:
        transaction.set_properties(properties)
        if outdated:
            transaction.delete(_span_filter(spans), snapshot_properties=summary)
        for rows in _chunks(engine.batches(new)):
            transaction.append(rows, snapshot_properties=summary)


def _spans(days: list[int]) -> list[tuple[int, int]]:
    """Runs of adjacent days as half-open spans of microseconds; one span over all days when there are too many runs."""
    if len(days) > _MAX_SPANS:
        return [(days[0] * DAY_US, (days[-1] + 1) * DAY_US)]
    spans: list[tuple[int, int]] = []
    for day in days:
        if spans and spans[-1][1] == day * DAY_US:
            spans[-1] = (spans[-1][0], (day + 1) * DAY_US)
        else:
            spans.append((day * DAY_US, (day + 1) * DAY_US))
    return spans


def _in_spans(time_us: ir.Column, spans: list[tuple[int, int]]) -> ir.Column:
    return ibis.or_(*((time_us >= start) & (time_us < end) for start, end in spans))


def _span_filter(spans: list[tuple[int, int]]) -> str:
    """Row filter of PyIceberg for the rows that `_in_spans` selects."""
    return " or ".join(
        f"(anchor_time >= '{from_us(start).isoformat()}' and anchor_time < '{from_us(end).isoformat()}')"
        for start, end in spans
    )


def _chunks(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows in the table's own types, in tables of bounded size; each becomes its own files."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch.cast(ARROW_SCHEMA))
        if sum(part.num_rows for part in waiting) >= _CHUNK_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)
