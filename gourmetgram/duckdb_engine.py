"""DuckDB for the lakehouse: in memory up to a limit, then on local disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from gourmetgram.scratch import scratch_folder

MEMORY_LIMIT: Final = "64MB"


@contextmanager
def duckdb_engine(memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty DuckDB; data beyond the limit goes to a temporary folder.

    Args:
        memory_limit: with a unit, e.g. `64MB`.
    """
    with scratch_folder("duckdb") as folder:
        connection = duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "temp_directory": str(folder),
                # Keeping the order of insertion costs memory; queries that need an order sort.
                "preserve_insertion_order": False,
                "threads": 2,
            }
        )
        try:
            yield connection
        finally:
            connection.close()
