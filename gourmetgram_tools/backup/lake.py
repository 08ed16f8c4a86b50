"""Files of the lakehouse: those that the catalog's rows of one moment need, and no others."""

from collections.abc import Iterator, Sequence
from typing import Any

from pyiceberg.table import StaticTable

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.catalog import catalog_properties
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.settings import IcebergSettings

_LOCATIONS = "SELECT metadata_location FROM iceberg_tables WHERE metadata_location IS NOT NULL ORDER BY 1"


def refuse_rest_catalog(settings: IcebergSettings) -> None:
    """Refuse a lakehouse whose catalog is no database of the platform.

    Raises:
        PermanentError: the catalog is a REST catalog.
    """
    if settings.is_rest:
        raise PermanentError(
            f"The Iceberg catalog is the REST catalog at {settings.uri}. A backup holds the catalog's database, which "
            "only its provider can copy. Back up this catalog and its bucket at one time with the provider's means."
        )


def metadata_locations(cursor: Any) -> list[str]:  # noqa: ANN401 - psycopg2 has no types
    """Address of the current metadata file of each table, in the cursor's snapshot of the catalog."""
    cursor.execute("SELECT to_regclass('iceberg_tables')")
    if cursor.fetchone()[0] is None:
        return []  # no table was ever made
    cursor.execute(_LOCATIONS)
    return [location for (location,) in cursor.fetchall()]


def needed_files(settings: IcebergSettings, locations: Sequence[str]) -> Iterator[str]:
    """Addresses of the metadata, manifests and data of all snapshots; each once per table.

    Raises:
        PermanentError: a file is missing.
        TransientError: the object store is away.
    """
    properties = {key: value for key, value in catalog_properties(settings).items() if key != "type"}
    for location in locations:
        with named_outages("the lakehouse could not be read"):
            yield from _files_of(StaticTable.from_metadata(location, properties), location)


def key_of(address: str, bucket: str) -> str:
    """Key of a file in the bucket of the lakehouse.

    Raises:
        PermanentError: the file is elsewhere.
    """
    prefix = f"s3://{bucket}/"
    if not address.startswith(prefix):
        raise PermanentError(f"{address} is outside of the bucket {bucket}: a backup does not cover it.")
    return address.removeprefix(prefix)


def _files_of(table: StaticTable, location: str) -> Iterator[str]:
    yield location
    seen: set[str] = set()
    for snapshot in table.metadata.snapshots:
        if snapshot.manifest_list:
            yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                if entry.data_file.file_path not in seen:
                    seen.add(entry.data_file.file_path)
                    yield entry.data_file.file_path
    for statistics in (*table.metadata.statistics, *table.metadata.partition_statistics):
        yield statistics.statistics_path
