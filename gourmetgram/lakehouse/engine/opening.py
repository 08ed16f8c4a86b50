"""The engine that the settings name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyiceberg.catalog import Catalog

from gourmetgram.lakehouse.engine.duckdb import open_duckdb
from gourmetgram.lakehouse.engine.engine import Engine
from gourmetgram.settings import OfflineSettings

MEMORY_LIMIT: Final = "1GB"


@contextmanager
def open_engine(
    catalog: Catalog | None = None, settings: OfflineSettings | None = None, memory_limit: str = MEMORY_LIMIT
) -> Iterator[Engine]:
    """Open an empty engine.

    Args:
        catalog: the catalog whose tables are loaded; DuckDB does without it.
        settings: names the engine; None = DuckDB.
        memory_limit: memory of DuckDB, with a unit; the memory of Spark is a setting of its server.

    Raises:
        SettingsError: Spark is not installed, or there is no catalog for it.
        TransientError: the Spark server is away.
    """
    if settings is None or settings.offline_engine == "duckdb":
        with open_duckdb(memory_limit) as engine:
            yield engine
        return
    # Imported here: the client takes a second, and DuckDB does without it.
    from gourmetgram.lakehouse.engine.spark import open_spark

    with open_spark(catalog, settings) as spark:
        yield spark
