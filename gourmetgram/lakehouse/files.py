"""Data files of partitioned tables, written in bounded memory.

Each day has one buffer of rows. When the buffers are full, the rows of the fullest day become sorted row groups of that
day's open file. So there are few files, however the days are mixed. PyIceberg's own writer needs all rows of a commit
in memory.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import OutputFile, OutputStream
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import Table
from pyiceberg.table.locations import load_location_provider

from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.schemas import TableDefinition, arrow_schema

log = logging.getLogger(__name__)


class WriterLimits(NamedTuple):
    """Memory of a writer, and the size of its files.

    Attributes:
        buffered_rows: rows in memory, over all days.
        buffered_bytes: their size in memory.
        file_bytes: a file is closed once it is this large.
        open_files: days whose files are open at the same time; each keeps up to 10 MB until it is sent.
    """

    buffered_rows: int = 100_000
    buffered_bytes: int = 32 * 1024 * 1024
    file_bytes: int = 64 * 1024 * 1024
    open_files: int = 10


class WrittenFile(NamedTuple):
    """A complete data file that belongs to no snapshot yet.

    Attributes:
        path: its location.
        day: its partition, days since 1970, UTC.
        size: bytes.
        footer: the metadata at its end.
    """

    path: str
    day: int
    size: int
    footer: pq.FileMetaData


class DataFileWriter:
    """Writes rows of a table into data files that a later commit adds to it.

    Args:
        table: a table that is partitioned by the day of one time column.
        definition: arrangement of its rows.
        limits: memory and sizes.
    """

    def __init__(self, table: Table, definition: TableDefinition, limits: WriterLimits | None = None) -> None:
        self._table = table
        self._sort_by = [(column, "ascending") for column in definition.sort_by]
        self._row_groups_by = definition.row_groups_by
        self._limits = limits or WriterLimits()
        self._schema = arrow_schema(table.schema())
        self._time_column = table.schema().find_column_name(table.spec().fields[0].source_id) or ""
        self._waiting: dict[int, list[pa.Table]] = {}
        self._waiting_rows: Counter[int] = Counter()
        self._waiting_bytes: Counter[int] = Counter()
        self._open: dict[int, _OpenFile] = {}
        self._finished: list[WrittenFile] = []

    def write(self, rows: pa.Table) -> None:
        """Take rows; they may stay in memory until `finish`.

        Args:
            rows: has the table's columns, in any order.

        Raises:
            TransientError: the object store is away.
        """
        if rows.num_rows == 0:
            return
        for day, part in _by_day(rows.select(self._schema.names).cast(self._schema), self._time_column):
            self._waiting.setdefault(day, []).append(part)
            self._waiting_rows[day] += part.num_rows
            self._waiting_bytes[day] += part.nbytes
        while self._full():
            self._flush(max(self._waiting, key=self._waiting_rows.__getitem__))

    def finish(self) -> list[DataFile]:
        """Write the buffered rows, close all files, and return them."""
        return [data_file(self._table, file) for file in self.close()]

    def close(self) -> list[WrittenFile]:
        """Like `finish`, but for another process, which commits them."""
        for day in sorted(self._waiting):
            self._flush(day)
        for day in sorted(self._open):
            self._close(day)
        return list(self._finished)

    def discard(self) -> None:
        """Delete the written files; the maintenance removes those that cannot be deleted now."""
        for file in self._open.values():
            file.abandon()
        paths = [file.path for file in self._open.values()] + [file.path for file in self._finished]
        self._open.clear()
        self._waiting.clear()
        self._finished.clear()
        delete_files(self._table, paths)

    def _full(self) -> bool:
        rows, size = self._waiting_rows.total(), self._waiting_bytes.total()
        return rows >= self._limits.buffered_rows or size >= self._limits.buffered_bytes

    def _flush(self, day: int) -> None:
        """Write the buffered rows of a day as one row group, or as one row group per value of a column."""
        rows = pa.concat_tables(self._waiting.pop(day))
        del self._waiting_rows[day], self._waiting_bytes[day]
        file = self._open.pop(day, None) or self._create(day)
        # Keeps the most recently used file last: the first is closed when too many are open.
        self._open[day] = file
        with named_outages("a data file could not be written"):
            for part in _by_value(rows, self._row_groups_by):
                file.write(part.sort_by(self._sort_by))
        if file.size >= self._limits.file_bytes:
            self._close(day)

    def _create(self, day: int) -> "_OpenFile":
        while len(self._open) >= self._limits.open_files:
            self._close(next(iter(self._open)))
        return _OpenFile(self._table, self._schema, day)

    def _close(self, day: int) -> None:
        with named_outages("a data file could not be written"):
            self._finished.append(self._open.pop(day).close())


class _OpenFile:
    """One Parquet file that row groups are appended to."""

    def __init__(self, table: Table, schema: pa.Schema, day: int) -> None:
        self._day = day
        provider = load_location_provider(table.location(), table.properties)
        self.path = provider.new_data_location(f"{uuid.uuid4()}.parquet", _partition_key(table, day))
        with named_outages("a data file could not be created"):
            self._output: OutputFile = table.io.new_output(self.path)
            # The name is unique, so no request is needed to find out if the file exists.
            self._stream: OutputStream = self._output.create(overwrite=True)
        self._metadata: list[pq.FileMetaData] = []
        self._writer = pq.ParquetWriter(
            self._stream,
            schema,
            compression=table.properties.get("write.parquet.compression-codec", "zstd"),
            compression_level=int(table.properties.get("write.parquet.compression-level", "1")),
            # Almost every id of an event occurs once: its dictionary would be built only to be discarded.
            use_dictionary=[name for name in schema.names if name not in _UNIQUE_COLUMNS],
            metadata_collector=self._metadata,
        )

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return int(self._stream.tell())

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows, row_group_size=rows.num_rows)

    def close(self) -> WrittenFile:
        self._writer.close()
        size = self.size
        self._stream.close()
        return WrittenFile(self.path, self._day, size, self._metadata[0])

    def abandon(self) -> None:
        """Abandon a file that belongs to no commit."""
        try:
            self._writer.close()
            self._stream.close()
        except (OSError, pa.ArrowException) as error:
            log.warning("%s could not be closed: %s", self.path, error)


_UNIQUE_COLUMNS: Final = ("event_id", "comment_id", "flag_id", "offset")


def data_file(table: Table, file: WrittenFile) -> DataFile:
    """A file as a commit of its table takes it, with the statistics of its columns."""
    schema = table.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        file.footer, compute_statistics_plan(schema, table.properties), parquet_path_to_id_mapping(schema)
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=file.path,
        file_format=FileFormat.PARQUET,
        partition=_partition_key(table, file.day).partition,
        file_size_in_bytes=file.size,
        sort_order_id=None,
        spec_id=table.spec().spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def delete_files(table: Table, paths: Iterable[str]) -> None:
    """Delete files that no snapshot refers to. A failure is harmless: the maintenance finds them again."""
    for path in paths:
        try:
            table.io.delete(path)
        except OSError as error:
            log.warning("The unreferenced file %s could not be deleted: %s", path, error)


def _by_day(rows: pa.Table, time_column: str) -> Iterable[tuple[int, pa.Table]]:
    """Split rows by the day (since 1970, UTC) of a time column."""
    # Casting a time to a date rounds down, before 1970 too.
    days = rows[time_column].cast(pa.timestamp("us")).cast(pa.date32()).cast(pa.int32())
    distinct = pc.unique(days).to_pylist()
    if len(distinct) == 1:
        return [(distinct[0], rows)]
    return [(day, rows.filter(pc.equal(days, day))) for day in distinct]


def _by_value(rows: pa.Table, column: str | None) -> Iterable[pa.Table]:
    if column is None:
        return [rows]
    values = rows[column]
    return [rows.filter(pc.equal(values, value)) for value in sorted(pc.unique(values).to_pylist())]


def _partition_key(table: Table, day: int) -> PartitionKey:
    (field,) = table.spec().fields
    return PartitionKey([PartitionFieldValue(field, day)], table.spec(), table.schema())
