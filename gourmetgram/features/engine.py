"""Engine of the offline expressions: DuckDB on one machine, in bounded memory.

Expressions are Ibis tables with a name and a schema only, so they also compile for Spark. Here they become SQL for one
DuckDB connection. Data beyond the memory limit goes to a temporary folder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import ibis
import pyarrow as pa
from ibis import ir

from gourmetgram.duckdb_engine import duckdb_engine

BATCH_ROWS: Final = 100_000
MEMORY_LIMIT: Final = "1GB"


@contextmanager
def open_engine(memory_limit: str = MEMORY_LIMIT) -> Iterator["Engine"]:
    """Open an empty engine.

    Args:
        memory_limit: with a unit; data beyond it goes to a temporary folder.
    """
    with duckdb_engine(memory_limit) as connection:
        yield Engine(connection)


class Engine:
    """Tables and expressions on one DuckDB connection.

    Args:
        connection: used by this engine only.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def load(
        self, name: str, schema: ibis.Schema, data: pa.Table | pa.RecordBatchReader, query: str = "FROM loading"
    ) -> ir.Table:
        """Copy Arrow data into a new table; columns are matched by name and converted to the schema.

        Args:
            name: name of the new table.
            schema: its columns.
            data: data to copy; a reader is read once.
            query: DuckDB query over the data, which is called `loading`, for columns that need a conversion.
        """
        self._connection.register("loading", data)
        try:
            return self.load_query(name, schema, query)
        finally:
            self._connection.unregister("loading")

    def load_query(self, name: str, schema: ibis.Schema, query: str, parameters: Sequence[object] = ()) -> ir.Table:
        """Copy the rows of a DuckDB query into a new table; its columns are matched by name.

        Raises:
            duckdb.Error: a column is missing or unknown, or a value does not fit its type.
        """
        columns = ", ".join(column.sql("duckdb") for column in schema.to_sqlglot_column_defs("duckdb"))
        self._run(f'CREATE OR REPLACE TABLE "{name}" ({columns})')
        self._run(f'INSERT INTO "{name}" BY NAME {query}', parameters)
        return ibis.table(schema, name=name)

    def materialise(self, name: str, expression: ir.Table) -> ir.Table:
        """Compute an expression once and store its rows under a name."""
        return self.load_query(name, expression.schema(), _sql(expression))

    def rows(self, expression: ir.Table) -> pa.Table:
        """Compute an expression whose rows fit into memory."""
        return self._connection.sql(_sql(expression)).to_arrow_table()

    def batches(self, expression: ir.Table) -> pa.RecordBatchReader:
        """Compute an expression and return its rows in batches; read them to the end before the next call."""
        return self._connection.sql(_sql(expression)).to_arrow_reader(BATCH_ROWS)

    def scalar(self, expression: ir.Scalar) -> Any:  # noqa: ANN401 - whatever type the expression has
        """Compute one value."""
        (row,) = self._run(_sql(expression))
        return row[0]

    def _run(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        # Fetched to the end: DuckDB keeps an unread result open, and then refuses the next query.
        return self._connection.execute(statement, list(parameters)).fetchall()


def _sql(expression: ir.Expr) -> str:
    return str(ibis.to_sql(expression, dialect="duckdb"))
