"""Check of the pipeline's results; `airflow/dags/verify_pipeline.py` prints it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.lakehouse.schemas import ALL_TABLES
from gourmetgram.training_data.table import TRAINING_TABLE

SAMPLE_ROWS: Final = 5
_READERS: Final = 8

Write = Callable[[str], None]
"""Callback that takes a line of output."""


def verify(catalog: Catalog, write: Write) -> list[str]:
    """Describe the tables, and check that each can be read.

    Args:
        catalog: the Iceberg catalog.
        write: gets the description, line by line.

    Returns:
        Problems, one sentence per table; empty if there are none.
    """
    problems: list[str] = []
    with _problem_of(TRAINING_TABLE, problems):
        rows = _describe(catalog.load_table(TRAINING_TABLE), write)
        if rows == 0:
            problems.append(f"{TRAINING_TABLE} is empty")
    for name in ALL_TABLES:
        with _problem_of(name, problems):
            write(f"{name}: {_row_count(catalog.load_table(name))} rows")
    return problems


def _describe(table: Table, write: Write) -> int:
    """Write schema, number of rows and a sample; returns the number of rows."""
    write(f"Table: {TRAINING_TABLE}")
    write(str(table.schema()))
    rows = _row_count(table)
    write(f"Row count: {rows}")
    write("Sample rows:")
    for row in islice(_rows(table), SAMPLE_ROWS):
        write(str(row))
    return rows


def _row_count(table: Table) -> int:
    """Number of rows by the footers of the data files: every file is opened, but no row is read."""
    paths = [task.file.file_path for task in table.scan().plan_files()]
    with ThreadPoolExecutor(_READERS) as readers:
        return sum(readers.map(lambda path: _rows_of_file(table, path), paths))


def _rows_of_file(table: Table, path: str) -> int:
    with table.io.new_input(path).open() as stream:
        return int(pq.read_metadata(stream).num_rows)


def _rows(table: Table) -> Iterator[dict[str, Any]]:
    for batch in stream_rows(table, [field.name for field in table.schema().fields]):
        yield from batch.slice(0, SAMPLE_ROWS).to_pylist()


@contextmanager
def _problem_of(name: str, problems: list[str]) -> Iterator[None]:
    """Turn an error of a table into a sentence; the other tables are described nevertheless."""
    try:
        with named_outages(f"{name} cannot be read"):
            yield
    except NoSuchTableError:
        problems.append(f"{name} does not exist")
    except PlatformError as error:
        problems.append(str(error))
    except pa.ArrowException as error:
        problems.append(f"{name} cannot be read: {error}")
