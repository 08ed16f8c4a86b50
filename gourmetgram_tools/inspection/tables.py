"""Content of the stores as DuckDB tables: loaded once, compared by SQL, in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, repeat
from typing import Any, Final

import duckdb
import pyarrow as pa

from gourmetgram.duckdb_engine import duckdb_engine

MEMORY_LIMIT: Final = "1.3GB"
"""Memory limit of tables and queries; the rest goes to a temporary folder.

Queries over 50 million events took 2 GB in all.
"""

_BATCH: Final = 20_000

_SCHEMA: Final = """
-- Kafka
CREATE TABLE spans (topic VARCHAR, partition INTEGER, first BIGINT, last_end BIGINT);
CREATE TABLE records (
    topic VARCHAR, partition INTEGER, "offset" BIGINT, broker_us BIGINT, time_us BIGINT, kind VARCHAR,
    event_id UUID, image_id UUID, row_id UUID, eligible BOOLEAN, by_hand BOOLEAN, keyed BOOLEAN, home BOOLEAN
);
CREATE TABLE upload_fields (event_id UUID, category VARCHAR, caption_length VARCHAR, user_id VARCHAR);
CREATE TABLE bad_records (topic VARCHAR, partition INTEGER, "offset" BIGINT, broker_us BIGINT);
CREATE TABLE request_records (
    request_id UUID, partition INTEGER, "offset" BIGINT, image_id UUID, trigger VARCHAR, time_us BIGINT,
    context JSON, has_counts BOOLEAN
);
CREATE TABLE dead_letters (
    topic VARCHAR, partition INTEGER, "offset" BIGINT, consumer_group VARCHAR, error VARCHAR
);
-- PostgreSQL
CREATE TABLE images (
    image_id UUID, picture_key VARCHAR, source VARCHAR, created_us BIGINT, deleted_us BIGINT, views BIGINT,
    eligible BOOLEAN
);
CREATE TABLE actions (kind VARCHAR, row_id UUID, image_id UUID, created_us BIGINT);
CREATE TABLE decisions (decision_id UUID, request_id UUID, target_id UUID, trigger VARCHAR, counts JSON);
CREATE TABLE vectors (request_id UUID, features BLOB, erased BOOLEAN);
CREATE TABLE milestones (image_id UUID, milestone INTEGER);
-- Time until which records may be gone by an erasure.
CREATE TABLE erasures (until_us BIGINT);
CREATE TABLE outbox (event_id UUID, created_us BIGINT, sequence BIGINT);
-- Redis
CREATE TABLE redis_totals (image_id UUID, kind VARCHAR, number BIGINT);
CREATE TABLE redis_members (image_id UUID, kind VARCHAR, width VARCHAR, member VARCHAR, score_us BIGINT);
CREATE TABLE redis_alerts (image_id UUID, trigger VARCHAR, time_us BIGINT);
CREATE TABLE redis_metadata (image_id UUID, field VARCHAR, content VARCHAR);
CREATE TABLE redis_unreadable (problem VARCHAR);
-- Object store
CREATE TABLE not_owned (place VARCHAR, reason VARCHAR);
CREATE TABLE objects (key VARCHAR, stored_us BIGINT, image_id UUID);
-- Iceberg
CREATE TABLE lake_offsets (topic VARCHAR, partition INTEGER, next_offset BIGINT);
CREATE TABLE lake_events (
    topic VARCHAR, partition INTEGER, "offset" BIGINT, time_us BIGINT, kind VARCHAR, event_id UUID, image_id UUID,
    row_id UUID, eligible BOOLEAN
);
CREATE TABLE lake_windows (
    kind VARCHAR, name VARCHAR, events BIGINT, eligible BIGINT, repeated BIGINT, is_current BOOLEAN
);
CREATE TABLE training (image_id UUID, minutes INTEGER, anchor_us BIGINT, first_flag_fits BOOLEAN);
-- Worked out by `triggers`
CREATE TABLE counts (name VARCHAR, kind VARCHAR, width_us BIGINT, position INTEGER);
CREATE TABLE window_triggers (trigger VARCHAR);
CREATE TABLE milestone_marks (milestone INTEGER);
CREATE TABLE raised (
    request_id UUID, image_id UUID, trigger VARCHAR, time_us BIGINT, broker_us BIGINT, sends_request BOOLEAN
);
CREATE TABLE of_uploads (request_id UUID, image_id UUID, trigger VARCHAR, time_us BIGINT, demanded BOOLEAN);
CREATE TABLE foreign_requests (request_id UUID);
"""

TableValue = int | str | bool


class StoreTables:
    """Tables of one audit, empty at first; the statements above give their columns.

    Args:
        engine: an empty DuckDB.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        self._engine = engine
        engine.execute(_SCHEMA)

    def run(self, statements: str) -> None:
        """Run statements without a result."""
        self._engine.execute(statements)

    def define(self, **values: TableValue) -> None:
        """Define values for queries: `define(now_us=5)` is read as `now_us()`."""
        for name, value in values.items():
            literal = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else f"{value}"
            kind = "BIGINT" if type(value) is int else "BOOLEAN" if isinstance(value, bool) else "VARCHAR"
            self.run(f"CREATE OR REPLACE MACRO {name}() AS {literal}::{kind}")

    def load(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """Append rows to a table, some thousand at a time; a UUID is given as text."""
        self.load_several(zip(repeat(table), rows))

    def load_several(self, rows: Iterable[tuple[str, Sequence[object]]]) -> None:
        """Append rows to several tables, some thousand at a time.

        Args:
            rows: name of the table, and the row; they may alternate.
        """
        remaining = iter(rows)
        while batch := list(islice(remaining, _BATCH)):
            by_table: dict[str, list[Sequence[object]]] = {}
            for table, row in batch:
                by_table.setdefault(table, []).append(row)
            for table, found in by_table.items():
                columns = [pa.array(column) for column in zip(*found, strict=True)]
                self.load_arrow(table, pa.table(columns, [f"column_{number}" for number in range(len(columns))]))

    def load_arrow(
        self, table: str, data: pa.Table | pa.RecordBatch | pa.RecordBatchReader, query: str = "FROM loading"
    ) -> None:
        """Append Arrow data to a table.

        Args:
            table: name of the table.
            data: rows to copy.
            query: DuckDB query over the data (`loading`) that gives the table's columns in order.
        """
        self._engine.register("loading", data)
        try:
            self.run(f"INSERT INTO {table} {query}")
        finally:
            self._engine.unregister("loading")

    def rows(self, query: str, parameters: dict[str, TableValue] | None = None) -> list[Any]:
        """Return all rows of a query; parameters that it does not name are left out."""
        named = {name: value for name, value in (parameters or {}).items() if f"${name}" in query}
        return self._engine.execute(query, named).fetchall()

    def stream(self, query: str) -> Iterator[Any]:
        """Yield the rows of a query; the tables may change meanwhile."""
        with self._engine.cursor() as cursor:
            cursor.execute(query)
            while batch := cursor.fetchmany(_BATCH):
                yield from batch


@contextmanager
def open_tables(memory_limit: str = MEMORY_LIMIT) -> Iterator[StoreTables]:
    """Make empty tables, and drop them at the end.

    Args:
        memory_limit: limit with a unit, e.g. `1GB`.
    """
    with duckdb_engine(memory_limit) as engine:
        yield StoreTables(engine)
