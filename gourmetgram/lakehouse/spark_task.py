"""Work of one Spark task of the aggregation, in a Python worker of an executor: messages in, files and a report out."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from io import BytesIO
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from confluent_kafka import Message
from pyiceberg.table import StaticTable, Table

from gourmetgram.lakehouse.event_rows import EventRows
from gourmetgram.lakehouse.file_io import CA_FILE
from gourmetgram.lakehouse.files import WrittenFile
from gourmetgram.lakehouse.progress import offsets_to_json

COLUMNS: Final = ("topic", "partition", "offset", "key", "value", "timestamp", "timestampType")
"""Columns of Spark's reader of Kafka that a task takes."""

REPORT: Final = (
    "files array<struct<path: string, day: int, size: bigint, footer: binary>>, counts string, last_records string"
)
"""Columns of a report: `WrittenFile`s, rows by kind and skipped messages by reason (JSON), fingerprints (JSON)."""

_FILE: Final = pa.struct([("path", pa.string()), ("day", pa.int32()), ("size", pa.int64()), ("footer", pa.binary())])
_REPORT: Final = pa.schema([("files", pa.list_(_FILE)), ("counts", pa.string()), ("last_records", pa.string())])


class Task:
    """The work of an executor on some partitions: messages in, one report out.

    Args:
        table: `events`; its newest metadata file is read by each executor.
        ingested_at: `ingested_at` of the run.
    """

    def __init__(self, table: Table, ingested_at: datetime) -> None:
        self._metadata = table.metadata_location
        self._properties = {name: value for name, value in table.io.properties.items() if _of_store(name)}
        self._ingested_at = ingested_at

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the messages of the batches; each partition is whole, in offset order."""
        rows = EventRows(StaticTable.from_metadata(self._metadata, self._properties), self._ingested_at)
        try:
            for batch in batches:
                rows.add(as_messages(batch))
            files = rows.close()
        except BaseException:
            rows.discard()
            raise
        yield _report(rows, files)


def _of_store(name: str) -> bool:
    """Select properties for the object store; the catalog's login stays here."""
    return name.startswith("s3.") or name in {"py-io-impl", CA_FILE}


def as_messages(batch: pa.RecordBatch) -> list[Message]:
    """Messages as confluent-kafka would have read them."""
    columns = {name: batch[name].to_pylist() for name in COLUMNS if name != "timestamp"}
    columns["timestamp"] = pc.divide(batch["timestamp"].cast(pa.int64()), 1000).to_pylist()
    return [
        # The types of broker times are numbered from -1 in Java, and from 0 in librdkafka.
        Message(topic, partition, offset, key, value, timestamp=(time_type + 1, time_ms))
        for topic, partition, offset, key, value, time_ms, time_type in zip(
            *(columns[name] for name in COLUMNS), strict=True
        )
    ]


def _report(rows: EventRows, files: Iterable[WrittenFile]) -> pa.RecordBatch:
    report = {
        "files": [file._replace(footer=_footer_bytes(file.footer))._asdict() for file in files],
        "counts": orjson.dumps([rows.kinds, rows.skipped]).decode(),
        "last_records": offsets_to_json(rows.last.fingerprints()),
    }
    return pa.RecordBatch.from_pylist([report], schema=_REPORT)


def _footer_bytes(footer: pq.FileMetaData) -> bytes:
    sink = BytesIO()
    footer.write_metadata_file(sink)
    return sink.getvalue()
