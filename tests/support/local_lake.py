"""Iceberg tables without a server: a catalog in SQLite, files in a folder."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from gourmetgram.lakehouse.commits import append_files
from gourmetgram.lakehouse.files import DataFileWriter
from gourmetgram.lakehouse.schemas import EVENTS, EVENTS_DEFINITION, ensure_tables

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)


def open_local_catalog(folder: Path, warehouse: Path | None = None) -> Catalog:
    """A catalog whose database is in a folder, and its warehouse in the same or another one."""
    return SqlCatalog(
        "gourmetgram",
        uri=f"sqlite:///{folder}/catalog.db",
        warehouse=f"file://{warehouse or folder}/warehouse",
    )


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Catalog]:
    """A catalog of this test, with the event tables."""
    catalog = open_local_catalog(tmp_path)
    ensure_tables(catalog)
    yield catalog
    catalog.close()


def event_rows(count: int, at: datetime = NOON) -> pa.Table:
    """Rows of `events`, a second apart."""
    times = [at + timedelta(seconds=number) for number in range(count)]
    return pa.Table.from_pylist(
        [
            {
                "event_id": str(uuid.uuid4()),
                "event_type": "view",
                "image_id": str(uuid.uuid4()),
                "actor_eligible": True,
                "event_time": time,
                "record_time": time,
                "ingested_at": time,
                "topic": "views",
                "partition": 0,
                "offset": number,
            }
            for number, time in enumerate(times)
        ],
        schema=EVENTS_DEFINITION.arrow_schema,
    )


def append_events(catalog: Catalog, count: int = 3, at: datetime = NOON, name: str = EVENTS) -> Table:
    """Add rows in one snapshot, as a run of the aggregation does; returns the table."""
    table = catalog.load_table(name)
    writer = DataFileWriter(table, EVENTS_DEFINITION)
    writer.write(event_rows(count, at))
    append_files(table, writer.finish(), {}, {})
    return table


def files_in_folder(table: Table) -> set[str]:
    """Everything in a table's folder."""
    return {f"file://{path}" for path in local_path(table.location()).rglob("*") if path.is_file()}


def local_path(location: str) -> Path:
    """The path behind a location in the warehouse."""
    return Path(location.removeprefix("file://"))
