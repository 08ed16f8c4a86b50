"""Iceberg tables through which data passes between this process and Spark's executors.

A run has a namespace of its own, `scratch_<seconds>_<random>`, in the lakehouse's catalog, and drops it at the end.
The namespaces of killed runs are dropped by later runs, a day afterwards.
"""

import itertools
import logging
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import ibis
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.table import Table

from gourmetgram.lakehouse.engine.columns import arrow_schema
from gourmetgram.lakehouse.files import delete_files
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.ownership import folder_files
from gourmetgram.lakehouse.reading import stream_files, whole_files
from gourmetgram.scratch import ABANDONED_AFTER_S

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"scratch_(\d+)_[0-9a-f]{8}")
# Spark writes the rows in the partitions of a query's order, and names files by the number of their partition.
_PROPERTIES: Final = {"write.distribution-mode": "none"}


@contextmanager
def scratch_tables(catalog: Catalog) -> Iterator["ScratchTables"]:
    """Make an empty namespace, and drop it with its tables and files at the end of the block."""
    with named_outages("a namespace for temporary tables could not be made"):
        _drop_abandoned(catalog)
        namespace = f"scratch_{int(time.time())}_{uuid.uuid4().hex[:8]}"
        catalog.create_namespace(namespace)
    try:
        yield ScratchTables(catalog, namespace)
    finally:
        with named_outages("temporary tables could not be dropped"):
            _drop(catalog, namespace)


class ScratchTables:
    """Temporary tables of one run.

    Args:
        catalog: catalog of the lakehouse.
        namespace: the run's own namespace.
    """

    def __init__(self, catalog: Catalog, namespace: str) -> None:
        self._catalog = catalog
        self._namespace = namespace
        self._numbers = itertools.count()

    def create(self, name: str, schema: ibis.Schema) -> str:
        """Make an empty table; returns its name with the namespace."""
        full = f"{self._namespace}.{name}_{next(self._numbers)}"
        with named_outages("a temporary table could not be made"):
            self._catalog.create_table(full, arrow_schema(schema), properties=_PROPERTIES)
        return full

    def write(self, name: str, schema: ibis.Schema, rows: pa.RecordBatchReader) -> str:
        """Stream rows into a new table; returns its name with the namespace."""
        full = self.create(name, schema)
        with named_outages("a temporary table could not be written"):
            self._catalog.load_table(full).append(rows)
        return full

    def stream(self, name: str) -> pa.RecordBatchReader:
        """Read a table that Spark has written, in the order of its files' names: the order of Spark's partitions."""
        with named_outages("a temporary table could not be opened"):
            table = self._catalog.load_table(name)
            files = sorted(whole_files(table), key=lambda file: file.file_path)
        return stream_files(table, files, [field.name for field in table.schema().fields])


def qualified(table: Table) -> str:
    """Name of a table with its namespace."""
    return ".".join(table.name())


def _drop_abandoned(catalog: Catalog) -> None:
    latest = time.time() - ABANDONED_AFTER_S
    for namespace, *_ in catalog.list_namespaces():
        found = _NAME.fullmatch(namespace)
        if found and int(found[1]) < latest:
            log.warning("The temporary tables of a run that was killed are dropped: namespace %s", namespace)
            _drop(catalog, namespace)


def _drop(catalog: Catalog, namespace: str) -> None:
    # Another run may drop the same abandoned namespace.
    with suppress(NoSuchNamespaceError, NoSuchTableError):
        for name in catalog.list_tables(namespace):
            table = catalog.load_table(name)
            # All files of the folder: the table does not know those of a killed writer.
            files = folder_files(table).keys() - {table.metadata_location}
            delete_files(table, files)
            catalog.drop_table(name)
            delete_files(table, [table.metadata_location])
        catalog.drop_namespace(namespace)
