"""The tables of namespace `event_aggregations`: names, columns, partitions, properties."""

from contextlib import suppress
from typing import Final, NamedTuple

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from pyiceberg.types import BooleanType, IntegerType, LongType, NestedField, StringType, TimestamptzType
from sqlalchemy.exc import IntegrityError

from gourmetgram.events import EventKind
from gourmetgram.lakehouse.outages import named_outages

NAMESPACE: Final = "event_aggregations"
EVENTS: Final = f"{NAMESPACE}.events"

WINDOWED_KINDS: Final[tuple[EventKind, ...]] = ("view", "comment", "flag")
"""The kinds of events that have a window table."""

WINDOW_TABLES: Final[dict[EventKind, str]] = {kind: f"{NAMESPACE}.{kind}_windows_5min" for kind in WINDOWED_KINDS}

ALL_TABLES: Final = (EVENTS, *WINDOW_TABLES.values())

RETRY_PROPERTY: Final = "commit.retry.num-retries"

PROPERTIES: Final = {
    # PyIceberg would repeat a failed append on top of the other writer's snapshot: the records would be in the table
    # twice.
    RETRY_PROPERTY: "0",
    # Small, so that a reader that loads a whole file needs little memory, too.
    "write.target-file-size-bytes": str(64 * 1024 * 1024),
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    # Planning reads every manifest, so few manifests are kept.
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "16",
    "write.metadata.previous-versions-max": "20",
    "write.metadata.delete-after-commit.enabled": "true",
}


class TableDefinition(NamedTuple):
    """Definition of a table.

    Attributes:
        schema: its columns.
        day_of: the time column whose day (UTC) partitions the table.
        sort_by: order of the rows within each row group of a file.
        row_groups_by: a column that is the same in all rows of a row group: a reader of one value reads only those.
    """

    schema: Schema
    day_of: str
    sort_by: tuple[str, ...]
    row_groups_by: str | None = None

    @property
    def partition_spec(self) -> PartitionSpec:
        """One partition per day."""
        source = self.schema.find_field(self.day_of)
        return PartitionSpec(PartitionField(source.field_id, 1000, DayTransform(), f"{self.day_of}_day"))

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns of the files, with Iceberg's field ids."""
        return arrow_schema(self.schema)


_STRING, _TIME, _LONG = StringType(), TimestamptzType(), LongType()

EVENTS_DEFINITION: Final = TableDefinition(
    Schema(
        NestedField(1, "event_id", _STRING, doc="UUID; copies of an event have the same, the first offset counts"),
        NestedField(2, "event_type", _STRING, doc="view, comment, flag or upload"),
        NestedField(3, "image_id", _STRING),
        NestedField(4, "user_id", _STRING),
        NestedField(5, "comment_id", _STRING),
        NestedField(6, "flag_id", _STRING),
        NestedField(7, "actor_eligible", BooleanType()),
        NestedField(8, "event_time", _TIME),
        NestedField(9, "record_time", _TIME, doc="when the broker stored the record"),
        NestedField(10, "ingested_at", _TIME, doc="same for all records of a run, later for each later run"),
        NestedField(11, "topic", _STRING),
        NestedField(12, "partition", IntegerType()),
        NestedField(13, "offset", _LONG),
    ),
    day_of="event_time",
    sort_by=("event_time",),
    row_groups_by="event_type",
)

WINDOWS_DEFINITION: Final = TableDefinition(
    Schema(
        NestedField(1, "image_id", _STRING),
        NestedField(2, "window_start", _TIME),
        NestedField(3, "window_end", _TIME),
        NestedField(4, "event_count", _LONG, doc="distinct events"),
        NestedField(5, "eligible_count", _LONG, doc="distinct events of actors that may be used to judge and learn"),
        NestedField(6, "processed_at", _TIME),
    ),
    day_of="window_start",
    sort_by=("window_start", "image_id"),
)

DEFINITIONS: Final = {EVENTS: EVENTS_DEFINITION} | dict.fromkeys(WINDOW_TABLES.values(), WINDOWS_DEFINITION)


def arrow_schema(schema: Schema) -> pa.Schema:
    """An Iceberg schema as Arrow fields that carry their Iceberg ids; texts have 32-bit offsets."""
    fields = schema_to_pyarrow(schema)
    narrow = [field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in fields]
    return pa.schema(narrow)


def ensure_tables(catalog: Catalog) -> None:
    """Create the namespace and its four tables where they are missing.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with named_outages("the tables of event_aggregations could not be created"):
        # Raised when another run created it between the check and the insertion.
        with suppress(IntegrityError, NamespaceAlreadyExistsError):
            catalog.create_namespace_if_not_exists(NAMESPACE)
        existing = {".".join(identifier) for identifier in catalog.list_tables(NAMESPACE)}
        for name in ALL_TABLES:
            if name not in existing:
                _create_table(catalog, name, DEFINITIONS[name])


def open_table(catalog: Catalog, name: str) -> Table:
    """Load one of the four tables for writing; wrong properties are corrected.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with named_outages(f"{name} could not be opened"):
        table = catalog.load_table(name)
        different = {key: value for key, value in PROPERTIES.items() if table.properties.get(key) != value}
        if different:
            with table.transaction() as transaction:
                transaction.set_properties(different)
        return table


def _create_table(catalog: Catalog, name: str, definition: TableDefinition) -> None:
    # Raised when another run created it between the check and the insertion.
    with suppress(TableAlreadyExistsError):
        catalog.create_table(name, definition.schema, partition_spec=definition.partition_spec, properties=PROPERTIES)
