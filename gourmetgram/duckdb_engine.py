"""DuckDB as the lakehouse uses it: in memory with a limit, the rest on local disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

import duckdb

MEMORY_LIMIT: Final = "64MB"


@contextmanager
def duckdb_engine(memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty DuckDB; what does not fit into the limit goes to a temporary folder.

    Args:
        memory_limit: with a unit, e.g. `64MB`.
    """
    with TemporaryDirectory(prefix="gourmetgram-duckdb-") as folder:
        connection = duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "temp_directory": folder,
                # Order costs memory, and rows are sorted where it matters.
                "preserve_insertion_order": False,
                "threads": 2,
            }
        )
        try:
            yield connection
        finally:
            connection.close()
