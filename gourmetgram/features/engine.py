"""Where offline expressions are computed on one machine: DuckDB, in bounded memory.

Expressions are Ibis tables known by name and schema only, so that the same ones compile for Spark too; here they
become SQL for one DuckDB connection. What does not fit into the memory limit goes to a temporary folder.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb
import ibis
import pyarrow as pa
from ibis import ir

BATCH_ROWS: Final = 100_000
MEMORY_LIMIT: Final = "1GB"


class Engine:
    """One private DuckDB database.

    Args:
        folder: for what exceeds the memory limit; it must exist while the engine is used.
        memory_limit: DuckDB's notation, e.g. `1GB`.
    """

    def __init__(self, folder: Path, memory_limit: str = MEMORY_LIMIT) -> None:
        self._connection = duckdb.connect(config={"temp_directory": str(folder), "memory_limit": memory_limit})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def load(
        self, name: str, schema: ibis.Schema, data: pa.Table | pa.RecordBatchReader, query: str = "FROM loading"
    ) -> ir.Table:
        """Copy Arrow data into a new table; columns are matched by name and converted to the schema.

        Args:
            name: of the new table.
            schema: its columns.
            data: what to copy; a reader is read once.
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
            duckdb.Error: a column is missing or too much, or a value does not fit its type.
        """
        columns = ", ".join(column.sql("duckdb") for column in schema.to_sqlglot_column_defs("duckdb"))
        self._run(f'CREATE OR REPLACE TABLE "{name}" ({columns})')
        self._run(f'INSERT INTO "{name}" BY NAME {query}', parameters)
        return ibis.table(schema, name=name)

    def materialise(self, name: str, expression: ir.Table) -> ir.Table:
        """Compute an expression once and keep its rows under a name."""
        return self.load_query(name, expression.schema(), _sql(expression))

    def rows(self, expression: ir.Table) -> pa.Table:
        """Compute an expression whose rows fit into memory."""
        return self._connection.sql(_sql(expression)).to_arrow_table()

    def batches(self, expression: ir.Table) -> pa.RecordBatchReader:
        """Compute an expression and hand its rows out in batches; read them to the end before the next call."""
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
