"""Messages as rows of `events`, in files that belong to no snapshot yet."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, Message
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from gourmetgram.collector import frozen_heap
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.lakehouse.broker import read_planned
from gourmetgram.lakehouse.continuity import Fingerprints, LastRecords
from gourmetgram.lakehouse.files import DataFileWriter, WrittenFile, data_file
from gourmetgram.lakehouse.parsing import parse_messages
from gourmetgram.lakehouse.schemas import EVENTS_DEFINITION

log = logging.getLogger(__name__)

_PROGRESS_EVERY_S: Final = 5.0
# From this number of records on, the collector costs more during a run than freezing the heap before it.
_MANY_RECORDS: Final = 20_000


class WrittenEvents(NamedTuple):
    """The rows of a run.

    Attributes:
        files: their files.
        kinds: number of rows by kind of event.
        skipped: number of malformed messages by reason.
        last_records: fingerprint of the last record that was read of each partition.
    """

    files: list[DataFile]
    kinds: Counter[str]
    skipped: Counter[str]
    last_records: Fingerprints


class WriteRows(Protocol):
    """Reads ranges of offsets, and writes the records as rows of `events`."""

    def __call__(
        self, consumer: Consumer, ranges: Mapping[Partition, OffsetRange], table: Table, ingested_at: datetime
    ) -> WrittenEvents:
        """Read exactly the records of the ranges.

        Args:
            consumer: a range reader.
            ranges: offsets to read.
            table: `events`.
            ingested_at: `ingested_at` of the run.

        Raises:
            PermanentError: the broker no longer has a record of a range.
            TransientError: a server is away.
        """


class EventRows:
    """Rows of `events`, written into files.

    Args:
        table: `events`.
        ingested_at: `ingested_at` of the run.
    """

    def __init__(self, table: Table, ingested_at: datetime) -> None:
        self.kinds: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.last = LastRecords()
        self._writer = DataFileWriter(table, EVENTS_DEFINITION)
        self._ingested_at = ingested_at

    def add(self, messages: list[Message]) -> None:
        """Parse messages and write their rows.

        Args:
            messages: without errors, in offset order within each partition.
        """
        self.last.note(messages)
        rows, skipped = parse_messages(messages)
        self.skipped += skipped
        counts = pc.value_counts(rows["event_type"])
        self.kinds += Counter({item["values"]: item["counts"] for item in counts.to_pylist()})
        self._writer.write(_with_ingested_at(rows, self._ingested_at))

    def close(self) -> list[WrittenFile]:
        """Complete the files and return them."""
        return self._writer.close()

    def discard(self) -> None:
        """Delete the written files."""
        self._writer.discard()


def write_rows(
    consumer: Consumer, ranges: Mapping[Partition, OffsetRange], table: Table, ingested_at: datetime
) -> WrittenEvents:
    """Read and write in this process; see `WriteRows`."""
    rows = EventRows(table, ingested_at)
    try:
        _add_all(rows, consumer, ranges)
        files = [data_file(table, file) for file in rows.close()]
    except BaseException:
        rows.discard()
        raise
    return WrittenEvents(files, rows.kinds, rows.skipped, rows.last.fingerprints())


def _add_all(rows: EventRows, consumer: Consumer, ranges: Mapping[Partition, OffsetRange]) -> None:
    total = sum(item.records for item in ranges.values())
    log.info("Reading %d records of %d partitions", total, len(ranges))
    said = time.monotonic()
    # Arrow parses and compresses one batch without the interpreter's lock while the next one is read.
    collector = frozen_heap() if total > _MANY_RECORDS else nullcontext()
    with collector, ThreadPoolExecutor(1, "rows") as pool:
        added = pool.submit(lambda: None)
        for messages in read_planned(consumer, ranges):
            added.result()
            added = pool.submit(rows.add, messages)
            log.debug("Step done: batch read")
            if time.monotonic() - said > _PROGRESS_EVERY_S:
                said = time.monotonic()
                log.info("Read %d of %d records", rows.kinds.total() + rows.skipped.total(), total)
        added.result()


def _with_ingested_at(rows: pa.Table, ingested_at: datetime) -> pa.Table:
    values = pa.repeat(pa.scalar(ingested_at, pa.timestamp("us", tz="UTC")), rows.num_rows)
    return rows.append_column("ingested_at", values)
