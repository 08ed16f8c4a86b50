"""The table `moderation.training_data`: its schema, and the rows it holds."""

from pathlib import Path
from typing import Final

import pyarrow as pa
from ibis import ir
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DoubleType, IcebergType, LongType, NestedField, StringType, TimestamptzType

from gourmetgram.lakehouse.engine import Engine
from gourmetgram.lakehouse.schemas import PROPERTIES, TableDefinition
from gourmetgram.training_data import names
from gourmetgram.training_data.rows import ROWS

NAMESPACE: Final = "moderation"
TRAINING_TABLE: Final = names.TRAINING_TABLE
TIME_COLUMNS: Final = ("label_observed_until", "anchor_time", names.FIRST_FLAG)
_LATER_COLUMNS: Final = (names.FIRST_FLAG,)
"""Columns that tables of earlier versions of the platform lack."""

_TIME: Final = pa.timestamp("us", tz="UTC")


def _arrow_type(name: str) -> pa.DataType:
    return _TIME if name in TIME_COLUMNS else ROWS[name].to_pyarrow()


ARROW_SCHEMA: Final = pa.schema([(name, _arrow_type(name)) for name in ROWS.names])
"""Arrow schema of the columns."""


def _iceberg_type(name: str) -> IcebergType:
    if name in TIME_COLUMNS:
        return TimestamptzType()
    if ROWS[name].is_string():
        return StringType()
    return DoubleType() if ROWS[name].is_floating() else LongType()


ICEBERG_SCHEMA: Final = Schema(
    *(NestedField(number, name, _iceberg_type(name)) for number, name in enumerate(ROWS.names, start=1))
)

# A run changes the rows of the last day or two: with a partition per day, only their files are replaced.
DEFINITION: Final = TableDefinition(ICEBERG_SCHEMA, day_of="anchor_time", sort_by=("anchor_time", "image_id"))


def ensure_training_table(catalog: Catalog) -> Table:
    """The table, created if it is missing; a table of an earlier version gets its missing columns."""
    # PyIceberg's attempt to create an existing table would leave a metadata file in its folder.
    table = find_training_table(catalog)
    if table is None:
        catalog.create_namespace_if_not_exists(NAMESPACE)
        table = catalog.create_table_if_not_exists(
            TRAINING_TABLE, DEFINITION.schema, partition_spec=DEFINITION.partition_spec, properties=PROPERTIES
        )
    missing = [name for name in _LATER_COLUMNS if name not in table.schema().column_names]
    if missing:
        with table.update_schema() as update:
            for name in missing:
                update.add_column(name, _iceberg_type(name))
    return table


def find_training_table(catalog: Catalog) -> Table | None:
    """The table, or None before the first load."""
    try:
        return catalog.load_table(TRAINING_TABLE)
    except NoSuchTableError:
        return None


def load_stored_rows(engine: Engine, name: str, table: Table | None) -> ir.Table:
    """Load the table's newest rows into the engine, as schema `ROWS`; no rows when there is no table.

    A column that a table of an earlier version lacks is null in every row.
    """
    if table is None:
        return engine.load(name, ROWS, ROWS.to_pyarrow().empty_table())
    return engine.load_snapshot(name, ROWS, table)


def load_file_rows(engine: Engine, name: str, path: Path) -> ir.Table:
    """Load a Parquet file of the table's columns into the engine, as schema `ROWS`."""
    return engine.load_file(name, ROWS, path)
