"""Columns of loaded data, converted to the schema of their table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from gourmetgram.lakehouse.engine.engine import Renamed

BATCH_ROWS: Final = 65_536


def converted(data: pa.Table | pa.RecordBatchReader, schema: ibis.Schema, renamed: Renamed) -> pa.RecordBatchReader:
    """The columns of a schema in its types; the data's other columns are left out.

    Raises:
        KeyError: the data lacks a column.
        pa.ArrowInvalid: a value does not fit its type.
    """
    reader = data.to_reader(BATCH_ROWS) if isinstance(data, pa.Table) else data
    wanted = arrow_schema(schema)
    return pa.RecordBatchReader.from_batches(wanted, _converted(reader, wanted, renamed))


def read_file(path: Path, schema: ibis.Schema, renamed: Renamed) -> pa.RecordBatchReader:
    """The same from a Parquet file, some rows at a time."""
    file = pq.ParquetFile(path)
    sources = [renamed.get(name, name) for name in schema.names]
    found = pa.schema([file.schema_arrow.field(name) for name in sources])
    batches = file.iter_batches(BATCH_ROWS, columns=sources)
    return converted(
        pa.RecordBatchReader.from_batches(found, (batch.select(sources) for batch in batches)), schema, renamed
    )


def arrow_schema(schema: ibis.Schema) -> pa.Schema:
    """Arrow types of a schema, each column nullable."""
    return pa.schema([pa.field(name, kind.to_pyarrow()) for name, kind in schema.items()])


def _converted(reader: pa.RecordBatchReader, wanted: pa.Schema, renamed: Renamed) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        columns = [batch.column(renamed.get(field.name, field.name)).cast(field.type) for field in wanted]
        yield pa.RecordBatch.from_arrays(columns, schema=wanted)
