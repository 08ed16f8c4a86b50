"""Owners of the pictures' bucket and of the tables' folders: what an audit shows, and what an adoption changes."""

from typing import NamedTuple

from pyiceberg.table import Table
from sqlalchemy import Engine, text

from gourmetgram.buckets import BucketMark, read_mark, write_mark
from gourmetgram.database.installation import INSTALLATION
from gourmetgram.lakehouse import ownership
from gourmetgram.lakehouse.catalog import open_catalog, table_versions
from gourmetgram.lakehouse.leftovers import compare_folder
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.schemas import ALL_TABLES
from gourmetgram.settings import IcebergSettings, ObjectStoreSettings
from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram_tools.inspection.tables import StoreTables


class AdoptedFolder(NamedTuple):
    """A table whose folder was adopted, and the number of unreferenced files in it."""

    table: str
    unreferenced: int


def load_owners(tables: StoreTables, engine: Engine, objects: ObjectStoreSettings, iceberg: IcebergSettings) -> None:
    """Fill the table `not_owned` with the places where nothing is removed, and the reasons.

    Raises:
        TransientError: a store is away.
    """
    mark = read_mark(objects)
    reasons = {f"bucket {objects.s3_bucket_name}": None if mark is None else mark.refusal(_database(engine))}
    # Opening a catalog creates its tables, which an audit must not do.
    if names := _tables(iceberg):
        with open_catalog(iceberg) as catalog:
            reasons |= {f"folder of {name}": ownership.refusal(catalog.load_table(name)) for name in names}
    tables.load("not_owned", [(place, reason) for place, reason in reasons.items() if reason])


def adopt_pictures(engine: Engine, objects: ObjectStoreSettings) -> BucketMark:
    """Mark the bucket of pictures as that of a database.

    Raises:
        TransientError: a store is away.
    """
    mark = _database(engine)
    write_mark(objects, mark)
    return mark


def adopt_tables(iceberg: IcebergSettings) -> list[AdoptedFolder]:
    """Mark the folders of the platform's tables as those of a catalog.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with open_catalog(iceberg) as catalog:
        return [_adopt(catalog.load_table(name)) for name in _tables(iceberg)]


def _adopt(table: Table) -> AdoptedFolder:
    with named_outages(f"the folder of {'.'.join(table.name())} could not be compared"):
        _, unreferenced = compare_folder(table)
    ownership.adopt(table)
    return AdoptedFolder(".".join(table.name()), len(unreferenced))


def _tables(iceberg: IcebergSettings) -> list[str]:
    versions = table_versions(iceberg)
    return [name for name in (*ALL_TABLES, TRAINING_TABLE) if name in versions]


def _database(engine: Engine) -> BucketMark:
    with named_outages("the database's id could not be read"), engine.connect() as connection:
        row = connection.execute(text(INSTALLATION)).one()
    return BucketMark(row.id, row.sweeps)
