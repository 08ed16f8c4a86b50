"""Engine on one machine: DuckDB, in memory up to a limit, then in a temporary folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import ibis
import pyarrow as pa
from ibis import ir
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table

from gourmetgram.duckdb_engine import duckdb_engine
from gourmetgram.lakehouse.engine.columns import BATCH_ROWS, arrow_schema, converted, read_file
from gourmetgram.lakehouse.engine.engine import NO_NAMES, Renamed
from gourmetgram.lakehouse.reading import stream_rows

_SLICE_ROWS: Final = 300_000


@contextmanager
def open_duckdb(memory_limit: str) -> Iterator["DuckDbEngine"]:
    """Open an empty engine.

    Args:
        memory_limit: with a unit, e.g. `1GB`.
    """
    with duckdb_engine(memory_limit) as connection:
        yield DuckDbEngine(connection)


class DuckDbEngine:
    """Tables and expressions on one DuckDB connection.

    Args:
        connection: used by this engine only.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @property
    def slice_rows(self) -> int | None:
        """Counting takes some 100 bytes of memory an event."""
        return _SLICE_ROWS

    def load(
        self, name: str, schema: ibis.Schema, data: pa.Table | pa.RecordBatchReader, renamed: Renamed = NO_NAMES
    ) -> ir.Table:
        """Copy Arrow data."""
        return self._copy(name, schema, converted(data, schema, renamed))

    def load_file(self, name: str, schema: ibis.Schema, path: Path, renamed: Renamed = NO_NAMES) -> ir.Table:
        """Copy a Parquet file."""
        return self._copy(name, schema, read_file(path, schema, renamed))

    def load_snapshot(
        self,
        name: str,
        schema: ibis.Schema,
        table: Table,
        row_filter: BooleanExpression | None = None,
        snapshot_id: int | None = None,
        renamed: Renamed = NO_NAMES,
    ) -> ir.Table:
        """Stream the rows from the object store into a table; columns that are null everywhere are added there."""
        there = {name: renamed.get(name, name) for name in schema.names}
        there = {name: source for name, source in there.items() if source in table.schema().column_names}
        rows = stream_rows(table, list(there.values()), row_filter, snapshot_id)
        found = ibis.schema({name: schema[name] for name in there})
        return self._copy(name, schema, converted(rows, found, there))

    def materialise(self, name: str, expression: ir.Table) -> ir.Table:
        """Store the rows of an expression in a table."""
        return self._insert(name, expression.schema(), _sql(expression))

    def rows(self, expression: ir.Table) -> pa.Table:
        """Compute an expression."""
        return self._connection.sql(_sql(expression)).to_arrow_table().cast(arrow_schema(expression.schema()))

    def batches(self, expression: ir.Table) -> pa.RecordBatchReader:
        """Compute an expression, batch by batch."""
        return self._connection.sql(_sql(expression)).to_arrow_reader(BATCH_ROWS)

    def scalar(self, expression: ir.Scalar) -> Any:  # noqa: ANN401 - whatever type the expression has
        """Compute one value."""
        (row,) = self._run(_sql(expression))
        return row[0]

    def _copy(self, name: str, schema: ibis.Schema, rows: pa.RecordBatchReader) -> ir.Table:
        self._connection.register("loading", rows)
        try:
            return self._insert(name, schema, "FROM loading")
        finally:
            self._connection.unregister("loading")

    def _insert(self, name: str, schema: ibis.Schema, query: str) -> ir.Table:
        columns = ", ".join(column.sql("duckdb") for column in schema.to_sqlglot_column_defs("duckdb"))
        self._run(f'CREATE OR REPLACE TABLE "{name}" ({columns})')
        self._run(f'INSERT INTO "{name}" BY NAME {query}')
        return ibis.table(schema, name=name)

    def _run(self, statement: str) -> list[tuple[Any, ...]]:
        # Fetched to the end: DuckDB keeps an unread result open, and then refuses the next query.
        return self._connection.execute(statement).fetchall()


def _sql(expression: ir.Expr) -> str:
    return str(ibis.to_sql(expression, dialect="duckdb"))
