"""Reading tables in bounded memory.

PyIceberg's own batch reader loads whole files in advance. Here PyIceberg plans the files, and Arrow streams only the
columns and row groups that the filter needs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import bind
from pyiceberg.io.pyarrow import PyArrowFileIO, expression_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.schemas import arrow_schema

BATCH_ROWS: Final = 65_536


def stream_rows(
    table: Table,
    columns: Sequence[str],
    row_filter: BooleanExpression | None = None,
    snapshot_id: int | None = None,
) -> pa.RecordBatchReader:
    """Stream the rows of a snapshot that match a filter, batch by batch.

    Args:
        table: an Iceberg table.
        columns: names of the columns, in the order of the result.
        row_filter: on any columns; None = all rows.
        snapshot_id: None = the current snapshot; a table without one has no rows.

    Raises:
        TransientError: the object store is away.
        PermanentError: a file is missing, or another program has written delete files for it.
    """
    return stream_files(table, whole_files(table, row_filter, snapshot_id), columns, row_filter)


def whole_files(
    table: Table, row_filter: BooleanExpression | None = None, snapshot_id: int | None = None
) -> list[DataFile]:
    """Data files of a snapshot that may have a row of a filter; arguments and errors are those of `stream_rows`."""
    wanted = row_filter if row_filter is not None else AlwaysTrue()
    with named_outages(f"{'.'.join(table.name())} could not be read"):
        tasks = list(table.scan(row_filter=wanted, snapshot_id=snapshot_id).plan_files())
    if any(task.delete_files for task in tasks):
        raise PermanentError(f"{'.'.join(table.name())} has delete files of another program: compact it there first")
    return [task.file for task in tasks]


def stream_files(
    table: Table, files: Sequence[DataFile], columns: Sequence[str], row_filter: BooleanExpression | None = None
) -> pa.RecordBatchReader:
    """Like `stream_rows`, for some of the table's files."""
    full = arrow_schema(table.schema())
    schema = pa.schema([full.field(name) for name in columns])
    return pa.RecordBatchReader.from_batches(schema, _batches(table, files, full, schema, row_filter or AlwaysTrue()))


def read_parquet(table: Table, path: str, is_wanted: Callable[[str], bool]) -> Iterator[pa.RecordBatch]:
    """Read columns of a Parquet file in a table's folder, whether it belongs to the table or not.

    Args:
        table: the table.
        path: location of the file.
        is_wanted: selects columns by name.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with table.io.new_input(path).open() as stream:
        file = pq.ParquetFile(stream)
        yield from file.iter_batches(BATCH_ROWS, columns=[name for name in file.schema_arrow.names if is_wanted(name)])


def _batches(
    table: Table, files: Sequence[DataFile], full: pa.Schema, schema: pa.Schema, row_filter: BooleanExpression
) -> Iterator[pa.RecordBatch]:
    if not files:
        return
    if not isinstance(table.io, PyArrowFileIO):
        raise PermanentError(f"PyIceberg was set to {type(table.io).__name__}; this program reads with PyArrowFileIO")
    expression = expression_to_pyarrow(bind(table.schema(), row_filter, case_sensitive=True))
    scheme, place, _ = PyArrowFileIO.parse_location(files[0].file_path)
    with named_outages(f"{'.'.join(table.name())} could not be read"):
        dataset = ds.dataset(
            [PyArrowFileIO.parse_location(file.file_path)[2] for file in files],
            schema=full,
            format="parquet",
            filesystem=table.io.fs_by_scheme(scheme, place),
        )
        # Arrow reads ahead of a slow reader until 1 GiB is buffered, whatever its limits on files and batches. A scan
        # of one row group at a time cannot.
        for fragment in dataset.get_fragments(filter=expression):
            for group in fragment.split_by_row_group(filter=expression, schema=full):
                batches = group.to_batches(schema=full, columns=schema.names, filter=expression, batch_size=BATCH_ROWS)
                for batch in batches:
                    if batch.num_rows:
                        yield batch.cast(schema)
