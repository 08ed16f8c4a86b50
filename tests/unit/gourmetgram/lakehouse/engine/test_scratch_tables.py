"""Temporary tables are gone after a run, however it ends."""

import time

import ibis
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.lakehouse.engine.scratch_tables import scratch_tables
from tests.support.local_lake import files_in_folder

SCHEMA = ibis.schema({"number": "int64", "text": "string"})
ROWS = pa.table({"number": [1, 2], "text": ["ü", None]})


def namespaces(catalog: Catalog) -> set[str]:
    return {namespace for (namespace, *_) in catalog.list_namespaces()}


def test_rows_come_back_as_they_were_written(lake: Catalog) -> None:
    with scratch_tables(lake) as scratch:
        first, second = (scratch.write("rows", SCHEMA, ROWS.to_reader()) for _ in range(2))
        assert first != second
        assert scratch.stream(first).read_all().to_pydict() == ROWS.to_pydict()


def test_a_failed_run_leaves_nothing(lake: Catalog) -> None:
    before = namespaces(lake)
    with pytest.raises(ZeroDivisionError), scratch_tables(lake) as scratch:
        table = lake.load_table(scratch.write("rows", SCHEMA, ROWS.to_reader()))
        # A file of a writer that was killed before its commit.
        with table.io.new_output(f"{table.location()}/data/unknown.parquet").create() as stream:
            stream.write(b"PAR1")
        assert len(files_in_folder(table)) > 1
        raise ZeroDivisionError
    assert namespaces(lake) == before
    assert not files_in_folder(table)


def test_tables_of_a_killed_run_are_dropped_a_day_later(lake: Catalog) -> None:
    now = int(time.time())
    old, fresh, foreign = f"scratch_{now - 90_000}_0123abcd", f"scratch_{now - 80_000}_0123abcd", "scratch_of_a_person"
    for namespace in (old, fresh, foreign):
        lake.create_namespace(namespace)
        lake.create_table(f"{namespace}.rows", ROWS.schema)
    with scratch_tables(lake):
        assert namespaces(lake) >= {fresh, foreign}
        assert old not in namespaces(lake)
