"""Interface of an engine: tables are loaded, expressions are computed, rows come out as Arrow data."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import ibis
import pyarrow as pa
from ibis import ir
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table

Renamed = Mapping[str, str]
"""Name of the loaded column -> name in the source, for columns with another name there."""

NO_NAMES: Final[Renamed] = MappingProxyType({})


class Engine(Protocol):
    """Computes Ibis expressions over tables that it has loaded.

    A loaded table has a name and a schema. Columns are matched by name. Where the schema says int64, a time of the
    source becomes whole microseconds since 1970 (UTC): exact, and independent of time zones. A second load under the
    same name replaces the table.
    """

    @property
    def slice_rows(self) -> int | None:
        """Number of events to count at a time, so that memory is bounded; None for all at once."""

    def load(
        self, name: str, schema: ibis.Schema, data: pa.Table | pa.RecordBatchReader, renamed: Renamed = NO_NAMES
    ) -> ir.Table:
        """Load Arrow data; a reader is read once.

        Raises:
            KeyError: the data lacks a column.
            pa.ArrowInvalid: a value does not fit its type.
        """

    def load_file(self, name: str, schema: ibis.Schema, path: Path, renamed: Renamed = NO_NAMES) -> ir.Table:
        """Load a Parquet file of this machine; errors are those of `load`."""

    def load_snapshot(
        self,
        name: str,
        schema: ibis.Schema,
        table: Table,
        row_filter: BooleanExpression | None = None,
        snapshot_id: int | None = None,
        renamed: Renamed = NO_NAMES,
    ) -> ir.Table:
        """Load the rows of an Iceberg table that match a filter.

        Args:
            name: name of the loaded table.
            schema: its columns. A column that the Iceberg table lacks is null in each row.
            table: a table of the catalog `gourmetgram`.
            row_filter: on any of its columns; None = all rows.
            snapshot_id: None = the snapshot that was current when `table` was loaded.
            renamed: names in the Iceberg table.

        Raises:
            TransientError: a server is away.
        """

    def materialise(self, name: str, expression: ir.Table) -> ir.Table:
        """Compute an expression once, and keep its rows under a name."""

    def rows(self, expression: ir.Table) -> pa.Table:
        """Compute an expression whose rows fit into the memory of this process."""

    def batches(self, expression: ir.Table) -> pa.RecordBatchReader:
        """Compute an expression and return its rows in batches and in its order; read them before the next call."""

    def scalar(self, expression: ir.Scalar) -> Any:  # noqa: ANN401 - whatever type the expression has
        """Compute one value."""
