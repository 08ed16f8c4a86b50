"""The raw extract: the columns of PostgreSQL that training needs, as of one moment, as Parquet files.

All five tables are read in one snapshot, and only the columns that are used. Of texts, these are the length of a
caption and the category. Every file carries the id of its extraction, so files of two extractions are never mixed.
"""

import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import psycopg2
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from gourmetgram.database.completeness import rows_watermark
from gourmetgram.database.engines import KEEPALIVES
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.moments import utc_text
from gourmetgram.scratch import scratch_folder
from gourmetgram.training_data import names
from gourmetgram.training_data.lake import Lake

log = logging.getLogger(__name__)

EXTRACTION_ID: Final = "gourmetgram.extraction_id"
EXTRACTED_AT: Final = names.EXTRACTED_AT

_TIME: Final = pa.timestamp("us", tz="UTC")
_CSV_BLOCK_BYTES: Final = 4 << 20
_STATEMENT_TIMEOUT_MS: Final = 600_000


class RawTable(NamedTuple):
    """A table of the extract: its query and the schema of its file."""

    query: str
    schema: pa.Schema

    @staticmethod
    def file_name(table: str) -> str:
        """Name of a table's file in the lake."""
        return f"raw/{table}/latest.parquet"


RAW_TABLES: Final = {
    "users": RawTable(
        "SELECT id, created_at, year_of_birth, is_test_account FROM users",
        pa.schema(
            [
                ("id", pa.string()),
                ("created_at", _TIME),
                ("year_of_birth", pa.int32()),
                ("is_test_account", pa.bool_()),
            ]
        ),
    ),
    "images": RawTable(
        "SELECT id, user_id, created_at, deleted_at, category, COALESCE(char_length(caption), 0) AS caption_length "
        "FROM images",
        pa.schema(
            [
                ("id", pa.string()),
                ("user_id", pa.string()),
                ("created_at", _TIME),
                ("deleted_at", _TIME),
                ("category", pa.string()),
                ("caption_length", pa.int64()),
            ]
        ),
    ),
    "comments": RawTable(
        "SELECT id, image_id FROM comments",
        pa.schema([("id", pa.string()), ("image_id", pa.string())]),
    ),
    "flags": RawTable(
        "SELECT id, image_id, comment_id, actor_eligible, review_status, created_at FROM flags",
        pa.schema(
            [
                ("id", pa.string()),
                ("image_id", pa.string()),
                ("comment_id", pa.string()),
                ("actor_eligible", pa.bool_()),
                ("review_status", pa.string()),
                ("created_at", _TIME),
            ]
        ),
    ),
    "image_milestones": RawTable(
        "SELECT image_id, milestone_type, milestone_value, reached_at FROM image_milestones",
        pa.schema(
            [
                ("image_id", pa.string()),
                ("milestone_type", pa.string()),
                ("milestone_value", pa.int32()),
                ("reached_at", _TIME),
            ]
        ),
    ),
}

RAW_FILES: Final = tuple(RawTable.file_name(table) for table in RAW_TABLES)
"""Names of all files in the lake."""

_ERASED_SINCE: Final = "SELECT EXISTS (SELECT FROM erasures WHERE completed_at IS NULL OR completed_at > %s)"


class Extraction(NamedTuple):
    """Result of an extraction.

    Attributes:
        extraction_id: the same in all five files.
        extracted_at: the extract holds every row whose time is at or before it, UTC.
        rows: number of rows by table.
    """

    extraction_id: str
    extracted_at: datetime
    rows: dict[str, int]


def extract(database_url: str, lake: Lake) -> Extraction:
    """Read the five tables in one snapshot and store their files.

    The files are sent only when all of them are complete, in bounded memory.

    Args:
        database_url: libpq URL of the application database.
        lake: destination of the files.

    Raises:
        TransientError: the database or the object store is away, or rows were erased meanwhile; then no file is left.
        PermanentError: a stored value does not fit the file's column.
    """
    with scratch_folder("extract") as folder:
        extraction = extract_to(database_url, folder)
        for table in RAW_TABLES:
            lake.upload(raw_path(folder, table), RawTable.file_name(table))
    if _erased_since(database_url, extraction.extracted_at):
        lake.remove(RAW_FILES)
        raise TransientError(
            "rows are being erased, or were erased during this extraction: complete the erasure with "
            "`gourmetgram erase resume`, then run again"
        )
    log.info(
        "Extraction %s as of %s: %s",
        extraction.extraction_id,
        extraction.extracted_at.isoformat(),
        ", ".join(f"{count} {table}" for table, count in extraction.rows.items()),
    )
    return extraction


def extract_to(database_url: str, folder: Path) -> Extraction:
    """Like `extract`, into `<table>.parquet` files of a local folder."""
    extraction_id = str(uuid.uuid4())
    try:
        with closing(_connect(database_url)) as connection, connection.cursor() as cursor:
            extracted_at = rows_watermark(cursor).complete_through
            metadata = {EXTRACTION_ID: extraction_id, EXTRACTED_AT: utc_text(extracted_at)}
            connection.autocommit = False
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            rows = {table: _extract_table(cursor, table, folder, metadata) for table in RAW_TABLES}
            connection.rollback()
    except psycopg2.OperationalError as error:
        raise TransientError(f"PostgreSQL is not available: {error}") from error
    return Extraction(extraction_id, extracted_at, rows)


def _erased_since(database_url: str, moment: datetime) -> bool:
    """True if an erasure is not complete, or was completed after a moment."""
    try:
        with closing(_connect(database_url)) as connection, connection.cursor() as cursor:
            cursor.execute(_ERASED_SINCE, (moment,))
            return bool(cursor.fetchone()[0])
    except psycopg2.OperationalError as error:
        raise TransientError(f"PostgreSQL is not available: {error}") from error


def raw_path(folder: Path, table: str) -> Path:
    """Path of a table's file after `extract_to`."""
    return folder / f"{table}.parquet"


def _connect(database_url: str) -> Any:  # noqa: ANN401
    connection = psycopg2.connect(
        database_url,
        application_name="gourmetgram-extract",
        connect_timeout=5,
        **KEEPALIVES,
        options=f"-c timezone=UTC -c datestyle=ISO -c statement_timeout={_STATEMENT_TIMEOUT_MS}",
    )
    connection.autocommit = True
    return connection


def _extract_table(cursor: Any, table: str, folder: Path, metadata: dict[str, str]) -> int:  # noqa: ANN401
    """Copy a table out with COPY, the server's fastest form, and turn it into Parquet batch by batch."""
    query, schema = RAW_TABLES[table]
    with tempfile.TemporaryFile(dir=folder) as csv:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", csv)
        csv.seek(0)
        try:
            return write_parquet(raw_path(folder, table), _csv_batches(csv, schema), schema, metadata)
        except pa.ArrowInvalid as error:
            raise PermanentError(f"a row of {table} has a value that cannot be extracted: {error}") from error


def _csv_batches(csv: IO[bytes], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    # PostgreSQL writes NULL as nothing and an empty text as "".
    yield from pa_csv.open_csv(
        csv,
        read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )


def write_parquet(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema, metadata: dict[str, str]) -> int:
    """Write batches of one schema to a file that carries the metadata.

    Returns:
        The number of rows.
    """
    rows = 0
    described = schema.with_metadata(metadata)
    with pq.ParquetWriter(path, described, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema).replace_schema_metadata(metadata))
            rows += batch.num_rows
    return rows
