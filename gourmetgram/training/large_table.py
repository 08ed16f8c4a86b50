"""A large synthetic table, larger than a small machine's memory, which shows why training streams."""

import uuid
from collections.abc import Callable, Iterator
from typing import Annotated, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.locations import load_location_provider
from pyiceberg.types import DoubleType, LongType, NestedField, StringType

from gourmetgram.features.definition import CATEGORIES
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.schemas import arrow_schema
from gourmetgram.settings import Settings
from gourmetgram.training.dataset import FEATURE_COLUMNS, LABEL
from gourmetgram.training_data.table import NAMESPACE

LARGE_TABLE: Final = f"{NAMESPACE}.large_training_data"
_UNFINISHED: Final = f"{LARGE_TABLE}_unfinished"

BATCH_ROWS: Final = 10_000
FILE_ROWS: Final = 500_000
"""Rows of a file, about 30 MB."""

_WHOLE: Final = {
    "time_since_upload_seconds": 100_000,
    "hour_of_day": 24,
    "day_of_week": 7,
    "is_weekend": 2,
    "views_5min": 1_000,
    "views_1hr": 10_000,
    "comments_5min": 100,
    "comments_1hr": 1_000,
    "flags_5min": 10,
    "flags_1hr": 100,
    "total_flags": 100,
    "caption_length": 500,
    "has_caption": 2,
    "user_image_count": 1_000,
    "user_age_days": 3_650,
    LABEL: 2,
}
"""Upper bounds, excluded, of whole numbers."""

_REAL: Final = {"view_velocity_per_min": 100.0, "comment_to_view_ratio": 1.0, "recent_engagement_score": 10.0}
"""Upper bounds, excluded, of real numbers."""

_COLUMNS: Final = (*FEATURE_COLUMNS, LABEL)
_TYPES: Final = {"category": StringType()} | dict.fromkeys(_REAL, DoubleType()) | dict.fromkeys(_WHOLE, LongType())
SCHEMA: Final = Schema(*(NestedField(number, name, _TYPES[name]) for number, name in enumerate(_COLUMNS, start=1)))

WrittenRows = Callable[[int], None]
"""Callback that gets the number of rows written so far."""


class LargeTableSettings(Settings):
    """Size of the table."""

    large_rows: Annotated[int, Field(ge=1)] = 6_000_000


def random_batches(rows: int, seed: int = 42) -> Iterator[pa.RecordBatch]:
    """Random rows, 10,000 at a time; the same for the same seed."""
    random = np.random.default_rng(seed)
    schema, categories = arrow_schema(SCHEMA), pa.array(CATEGORIES)
    for start in range(0, rows, BATCH_ROWS):
        count = min(BATCH_ROWS, rows - start)
        columns: dict[str, pa.Array] = {}
        for name in _COLUMNS:
            if name in _WHOLE:
                columns[name] = pa.array(random.integers(_WHOLE[name], size=count))
            elif name in _REAL:
                columns[name] = pa.array(random.random(count) * _REAL[name])
            else:
                columns[name] = categories.take(pa.array(random.integers(len(CATEGORIES), size=count)))
        yield pa.record_batch([columns[name] for name in _COLUMNS], schema=schema)


def replace_large_table(catalog: Catalog, rows: int, report: WrittenRows = lambda _: None) -> Table:
    """Write the table under another name, then replace the old one by it.

    Args:
        catalog: the Iceberg catalog; the namespace is created if it is missing.
        rows: number of rows.
        report: called with the number of rows written so far, file by file.

    Raises:
        TransientError: the catalog or the object store is away; the old table still exists then.
    """
    with named_outages(f"{LARGE_TABLE} could not be written"):
        catalog.create_namespace_if_not_exists(NAMESPACE)
        _drop(catalog, _UNFINISHED)
        # A folder of its own: the replaced table keeps its files until the new one is complete.
        location = f"{catalog.properties['warehouse']}/{LARGE_TABLE.replace('.', '/')}/{uuid.uuid4()}"
        table = catalog.create_table(_UNFINISHED, SCHEMA, location=location)
        table.add_files(list(_write_files(table, rows, report)))
        _drop(catalog, LARGE_TABLE)
        return catalog.rename_table(_UNFINISHED, LARGE_TABLE)


def _write_files(table: Table, rows: int, report: WrittenRows) -> Iterator[str]:
    """Write data files batch by batch; the memory is that of one row group. Yields their locations."""
    provider = load_location_provider(table.location(), table.properties)
    # add_files finds columns by name: the files must not contain Iceberg's ids.
    schema = pa.schema([field.remove_metadata() for field in arrow_schema(SCHEMA)])
    batches, written = random_batches(rows), 0
    for number in range(-(-rows // FILE_ROWS)):
        path = provider.new_data_location(f"{number:05d}.parquet")
        end = min(rows, (number + 1) * FILE_ROWS)
        with table.io.new_output(path).create() as stream, pq.ParquetWriter(stream, schema) as writer:
            while written < end:
                waiting: list[pa.RecordBatch] = []
                while written < end and len(waiting) < 10:
                    batch = next(batches)
                    waiting.append(batch)
                    written += batch.num_rows
                writer.write_table(pa.Table.from_batches(waiting).cast(schema))
        report(written)
        yield path


def _drop(catalog: Catalog, name: str) -> None:
    try:
        catalog.purge_table(name)
    except NoSuchTableError:
        return
