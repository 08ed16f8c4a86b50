"""Inputs of the training rows, loaded into the engine: the raw extract and the event history."""

from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import ir
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table

from gourmetgram.errors import PermanentError
from gourmetgram.features import offline
from gourmetgram.features.definition import category_name
from gourmetgram.lakehouse.engine import Engine, Renamed
from gourmetgram.lakehouse.filters import equals
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.progress import complete_through
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.moments import parse_utc
from gourmetgram.training_data.extract import EXTRACTED_AT, EXTRACTION_ID, RAW_TABLES, RawTable, raw_path
from gourmetgram.training_data.lake import Lake

_RAW_COLUMNS: Final[dict[str, Renamed]] = {
    "users": {"user_id": "id", "created_us": "created_at"},
    "images": {"image_id": "id", "created_us": "created_at", "deleted_us": "deleted_at"},
    "comments": {"comment_id": "id"},
    "flags": {"flag_id": "id", "created_us": "created_at"},
}
"""Columns of the raw files that have another name in the engine."""

_RAW_SCHEMAS: Final = {
    "users": offline.USERS,
    "images": offline.IMAGES,
    "comments": offline.COMMENTS,
    "flags": offline.FLAGS,
}


_IMAGE_IDS: Final = ibis.schema({"image_id": "string"})
_CATEGORY_NAMES: Final = ibis.schema({"text": "string", "name": "string"})


_EVENT_COLUMNS: Final = {"time_us": "event_time"}


class RawRows(NamedTuple):
    """The rows of one extraction, in the engine; `flags` by the image that they count for."""

    users: ir.Table
    images: ir.Table
    flags: ir.Table


class RawFiles(NamedTuple):
    """The five files of one extraction, in a local folder."""

    folder: Path
    extraction_id: str
    extracted_at: datetime


class EventHistory(NamedTuple):
    """The bronze events at one snapshot.

    Attributes:
        table: the Iceberg table.
        snapshot_id: None before the first event.
        complete_through: watermark, UTC: all events up to this time are in the table.
    """

    table: Table
    snapshot_id: int | None
    complete_through: datetime


def fetch_raw_files(lake: Lake, folder: Path) -> RawFiles:
    """Download the extract.

    Raises:
        PermanentError: a file is missing, unreadable, or of another extraction than the others.
        TransientError: the object store is away.
    """
    for table in RAW_TABLES:
        lake.download(RawTable.file_name(table), raw_path(folder, table))
    return open_raw_files(folder)


def open_raw_files(folder: Path) -> RawFiles:
    """Check that a folder holds the five files of one extraction.

    Raises:
        PermanentError: a file is unreadable, or of another extraction than the others.
    """
    found = {table: _extraction_of(raw_path(folder, table)) for table in RAW_TABLES}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{table} {extraction_id}" for table, (extraction_id, _) in found.items())
        raise PermanentError(f"the raw files are of different extractions ({listed}): run extract_data again")
    extraction_id, extracted_at = found["users"]
    return RawFiles(folder, extraction_id, parse_utc(extracted_at))


def load_raw_rows(engine: Engine, files: RawFiles) -> RawRows:
    """Load the extract into the engine, with categories and flags in their final form."""
    tables = {
        table: engine.load_file(table, schema, raw_path(files.folder, table), _RAW_COLUMNS[table])
        for table, schema in _RAW_SCHEMAS.items()
    }
    images = engine.materialise("images_named", _with_category_names(engine, tables["images"]))
    flags = engine.materialise("flags_of_images", offline.flags_by_image(tables["flags"], tables["comments"]))
    return RawRows(tables["users"], images, flags)


def open_event_history(catalog: Catalog) -> EventHistory | None:
    """The newest snapshot of the event history; None when no aggregation has run yet.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with named_outages("the event history could not be opened"):
        try:
            table = catalog.load_table(EVENTS)
        except NoSuchTableError:
            return None
        moment = complete_through(table)
    if moment is None:
        return None
    snapshot = table.current_snapshot()
    return EventHistory(table, snapshot.snapshot_id if snapshot else None, moment)


def load_events(engine: Engine, name: str, history: EventHistory, row_filter: BooleanExpression) -> ir.Table:
    """Load the events of a history that match a filter, as a table of schema `offline.EVENTS`.

    Raises:
        TransientError: the object store is away.
    """
    if history.snapshot_id is None:
        return load_no_events(engine, name)
    return engine.load_snapshot(name, offline.EVENTS, history.table, row_filter, history.snapshot_id, _EVENT_COLUMNS)


def load_uploaded_images(engine: Engine, name: str, history: EventHistory) -> ir.Table:
    """Load the ids of images that have an upload event: a table of distinct `image_id`.

    Raises:
        TransientError: the object store is away.
    """
    if history.snapshot_id is None:
        return engine.load(name, _IMAGE_IDS, _IMAGE_IDS.to_pyarrow().empty_table())
    of_kind = equals("event_type", "upload")
    return engine.load_snapshot(name, _IMAGE_IDS, history.table, of_kind, history.snapshot_id).distinct()


def load_no_events(engine: Engine, name: str) -> ir.Table:
    """An empty table of schema `offline.EVENTS`."""
    return engine.load(name, offline.EVENTS, offline.EVENTS.to_pyarrow().empty_table())


def load_event_rows(engine: Engine, name: str, rows: pa.Table | pa.RecordBatchReader) -> ir.Table:
    """Load rows with the columns of bronze as a table of schema `offline.EVENTS`; further columns are ignored."""
    return engine.load(name, offline.EVENTS, rows, _EVENT_COLUMNS)


def _extraction_of(path: Path) -> tuple[str, str]:
    try:
        metadata = pq.read_metadata(path).metadata or {}
        return metadata[EXTRACTION_ID.encode()].decode(), metadata[EXTRACTED_AT.encode()].decode()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise PermanentError(f"{path.name} is not a file of extract_data: {error!r}") from error


def _with_category_names(engine: Engine, images: ir.Table) -> ir.Table:
    """Replace stored categories by `category_name` of them.

    The rule is Python, so each distinct text is translated once.
    """
    texts = engine.rows(images.filter(images.category.notnull()).select("category").distinct())["category"].to_pylist()
    pairs = pa.table({"text": pa.array(texts, pa.string()), "name": pa.array(map(category_name, texts), pa.string())})
    names = engine.load("category_names", _CATEGORY_NAMES, pairs)
    named = images.left_join(names, images.category == names.text)
    return named.mutate(category=named.name.fill_null(category_name(None))).drop("text", "name")
