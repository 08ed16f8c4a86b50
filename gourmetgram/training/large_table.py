"""A large synthetic table, larger than a small machine's memory, which shows why training streams."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table
from pyiceberg.table.locations import load_location_provider

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.lakehouse.catalog import WAREHOUSE_LOCATION
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.schemas import arrow_schema
from gourmetgram.settings import Settings
from gourmetgram.training.large_rows import SCHEMA, LargeTablePlan
from gourmetgram.training_data.table import NAMESPACE

LARGE_TABLE: Final = f"{NAMESPACE}.large_training_data"
UNFINISHED: Final = f"{LARGE_TABLE}_unfinished"
"""Table of an interrupted run; its folder has the complete files."""
_REPLACED: Final = f"{LARGE_TABLE}_replaced"
_MARK: Final = "gourmetgram.large-table"
_GROUP_BATCHES: Final = 10

WrittenRows = Callable[[int], None]
"""Callback that gets the number of rows written so far, those of an interrupted run included."""


class LargeTableSettings(Settings):
    """Size of the table."""

    large_rows: Annotated[int, Field(ge=1)] = 6_000_000


def complete_large_table(catalog: Catalog, plan: LargeTablePlan) -> Table | None:
    """The table, if it is complete and has exactly the plan's rows; else None.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with named_outages(f"{LARGE_TABLE} could not be read"):
        table = _found(catalog, LARGE_TABLE)
        return table if table is not None and _is_complete(table, plan) else None


def replace_large_table(catalog: Catalog, plan: LargeTablePlan, report: WrittenRows = lambda _: None) -> Table:
    """Write the table under another name, then replace the old one by it.

    A run that was interrupted at any place is continued by the next one with the same plan: complete files stay.

    Args:
        catalog: the Iceberg catalog; the namespace is created if it is missing.
        plan: rows of the table.
        report: called with the number of rows written so far, some times a file.

    Raises:
        TransientError: the catalog or the object store is away, or another run has finished meanwhile. The old table
            still exists then.
    """
    try:
        with named_outages(f"{LARGE_TABLE} could not be written"):
            catalog.create_namespace_if_not_exists(NAMESPACE)
            _delete(catalog, _REPLACED)
            table = _unfinished(catalog, plan)
            paths = [_write_file(table, plan, number, report) for number in range(plan.files)]
            if not _is_complete(table, plan):
                table.add_files(paths)
            # Readers miss the table between two statements only, whatever its size.
            with suppress(NoSuchTableError):
                catalog.rename_table(LARGE_TABLE, _REPLACED)
            finished = catalog.rename_table(UNFINISHED, LARGE_TABLE)
            _delete(catalog, _REPLACED)
            return finished
    except NoSuchTableError as error:
        raise TransientError(f"{LARGE_TABLE} was finished by another run at the same time: run this again") from error


def _found(catalog: Catalog, name: str) -> Table | None:
    try:
        return catalog.load_table(name)
    except NoSuchTableError:
        return None


def _is_complete(table: Table, plan: LargeTablePlan) -> bool:
    snapshot = table.current_snapshot()
    if table.properties.get(_MARK) != plan.mark or snapshot is None or snapshot.summary is None:
        return False
    return int(snapshot.summary["total-records"] or 0) == plan.rows


def _unfinished(catalog: Catalog, plan: LargeTablePlan) -> Table:
    """The table of an interrupted run with the same plan, or a new one."""
    table = _found(catalog, UNFINISHED)
    if table is not None and table.properties.get(_MARK) == plan.mark:
        return table
    _delete(catalog, UNFINISHED)
    # A folder of its own: the replaced table keeps its files until the new one is complete.
    location = f"{catalog.properties[WAREHOUSE_LOCATION]}/{LARGE_TABLE.replace('.', '/')}/{uuid.uuid4()}"
    return catalog.create_table(UNFINISHED, SCHEMA, location=location, properties={_MARK: plan.mark})


def _write_file(table: Table, plan: LargeTablePlan, number: int, report: WrittenRows) -> str:
    """Write a data file unless it is there, with the memory of one row group; return its location."""
    provider = load_location_provider(table.location(), table.properties)
    path, rows = provider.new_data_location(f"{number:05d}.parquet"), plan.rows_of(number)
    written = number * plan.file_rows
    if _has_rows(table, path, plan.mark, rows):
        report(written + rows)
        return path
    # add_files finds columns by name: the files must not contain Iceberg's ids.
    plain = pa.schema([field.remove_metadata() for field in arrow_schema(SCHEMA)])
    schema = plain.with_metadata({_MARK: plan.mark})
    with table.io.new_output(path).create(overwrite=True) as stream, pq.ParquetWriter(stream, schema) as writer:
        batches = plan.batches(number)
        while group := list(islice(batches, _GROUP_BATCHES)):
            writer.write_table(pa.Table.from_batches(group).cast(schema))
            written += sum(batch.num_rows for batch in group)
            report(written)
    return path


def _has_rows(table: Table, path: str, mark: str, rows: int) -> bool:
    """Tell whether a file is complete. One that Ctrl-C has cut off is readable, too, but has fewer rows."""
    file = table.io.new_input(path)
    if not file.exists():
        return False
    with file.open() as stream:
        described = pq.read_metadata(stream)
    return (described.metadata or {}).get(_MARK.encode()) == mark.encode() and described.num_rows == rows


def _delete(catalog: Catalog, name: str) -> None:
    """Delete a table and its folder, where an interrupted run may have left files that the table does not know."""
    table = _found(catalog, name)
    if table is None:
        return
    if not isinstance(table.io, PyArrowFileIO):
        raise PermanentError(f"PyIceberg was set to {type(table.io).__name__}; this program deletes with PyArrowFileIO")
    catalog.drop_table(name)
    scheme, place, path = PyArrowFileIO.parse_location(table.location())
    with suppress(FileNotFoundError):
        table.io.fs_by_scheme(scheme, place).delete_dir(path)
