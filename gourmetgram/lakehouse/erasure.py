"""Erasure of persons and images from Iceberg tables: from the content, from all snapshots, and from the bucket.

Rows about an erased image are removed. Events of an erased person's comments and flags on other images stay, because
the counts of those images contain them. Their ids become null, so that they belong to no person any more.

Every erasure commits, even when it changes no row. So a run that read the table before cannot commit after it and bring
rows back. Only the newest snapshot remains. The files of the others leave the bucket at once, and not after the hour of
the maintenance: a job that reads an old snapshot at this moment fails and is repeated by Airflow.
"""

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from gourmetgram.lakehouse.commits import append_files, replace_files
from gourmetgram.lakehouse.files import DataFileWriter, delete_files
from gourmetgram.lakehouse.leftovers import files_of
from gourmetgram.lakehouse.maintenance import carried_summary, expire
from gourmetgram.lakehouse.outages import ChangedMeanwhileError, named_outages
from gourmetgram.lakehouse.ownership import folder_files
from gourmetgram.lakehouse.progress import INGESTED_AT
from gourmetgram.lakehouse.reading import read_parquet, stream_files, whole_files
from gourmetgram.lakehouse.schemas import PROPERTIES, TableDefinition
from gourmetgram.lakehouse.windows import processed_through
from gourmetgram.moments import utc_text

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 5
_IMAGE: Final = "image_id"
_USER: Final = "user_id"
_ROWS: Final = ("comment_id", "flag_id")


class ErasedIds(NamedTuple):
    """Ids of erased persons and images, hyphenated and in lower case.

    Attributes:
        users: the persons.
        images: the images, those of the persons included.
        rows: comments and flags of the persons or on the images.
    """

    users: frozenset[str]
    images: frozenset[str]
    rows: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """All of them."""
        return self.users | self.images | self.rows

    def of_column(self, name: str) -> frozenset[str]:
        """Erased ids that a column may hold; empty for a column without ids."""
        return {_IMAGE: self.images, _USER: self.users, **dict.fromkeys(_ROWS, self.rows)}.get(name, frozenset())


class ErasedRows(NamedTuple):
    """Result for one table.

    Attributes:
        removed: rows that were removed.
        blanked: rows that lost their ids.
        tags: tags and branches that were removed, because they kept older snapshots.
        deleted_files: files that left the bucket.
    """

    removed: int
    blanked: int
    tags: tuple[str, ...]
    deleted_files: int


@retry(retry=retry_if_exception_type(ChangedMeanwhileError), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
def erase_rows(
    catalog: Catalog,
    name: str,
    definition: TableDefinition,
    ids: ErasedIds,
    summary_of_rows: str | None = None,
    properties: Mapping[str, str] | None = None,
) -> ErasedRows:
    """Erase ids from a table, its snapshots and its folder.

    Args:
        catalog: the Iceberg catalog.
        name: name of an existing table.
        definition: arrangement of its rows.
        ids: ids to erase.
        summary_of_rows: property of the snapshot that holds the number of rows, if the table has one.
        properties: properties of the table to set in the same commit.

    Raises:
        ChangedMeanwhileError: other writers committed first, five times in a row: run again.
        TransientError: the catalog or the object store is away: run again.
    """
    with named_outages(f"{name} could not be erased from"):
        table = catalog.load_table(name)
        if table.current_snapshot() is None:
            return ErasedRows(0, 0, (), 0)
        _correct_properties(table)
        summary = _carried(table)
        removed, blanked = _rewrite(table, definition, ids, summary)
        if summary_of_rows is not None:
            summary[summary_of_rows] = str(sum(file.record_count for file in whole_files(table)))
        # The manifests of this second snapshot no longer list the replaced files with their bounds.
        append_files(table, [], summary, properties or {})
        tags, deleted = _purge(table, ids)
    log.info("%s: %d rows removed, %d without ids, %d files deleted", name, removed, blanked, deleted)
    return ErasedRows(removed, blanked, tags, deleted)


def holds(table: Table, file: DataFile, ids: ErasedIds) -> bool:
    """True if a data file of any snapshot of a table has an erased id."""
    names = [name for name in table.schema().column_names if ids.of_column(name)]
    return any(_any_id(batch, ids) for batch in stream_files(table, [file], names))


def remaining_files(table: Table, ids: ErasedIds) -> list[str]:
    """Files in a table's folder that hold an erased id, whether a snapshot refers to them or not.

    Raises:
        TransientError: the object store is away.
    """
    with named_outages(f"the folder of {'.'.join(table.name())} could not be searched"):
        return sorted(path for path in folder_files(table) if _file_holds(table, path, ids))


def _correct_properties(table: Table) -> None:
    different = {key: value for key, value in PROPERTIES.items() if table.properties.get(key) != value}
    if different:
        with table.transaction() as transaction:
            transaction.set_properties(different)


def _carried(table: Table) -> dict[str, str]:
    """Properties for the next snapshot; the mark of a window table, too, which is known by its snapshot otherwise."""
    summary = carried_summary(table)
    mark = processed_through(table)
    if INGESTED_AT in summary and mark is not None:
        summary[INGESTED_AT] = utc_text(mark)
    return summary


def _rewrite(table: Table, definition: TableDefinition, ids: ErasedIds, summary: Mapping[str, str]) -> tuple[int, int]:
    """Replace the files that hold an id, in one commit; returns the numbers of removed and of blanked rows."""
    old = [file for file in whole_files(table) if holds(table, file, ids)]
    if not old:
        return 0, 0
    removed = blanked = 0
    writer = DataFileWriter(table, definition)
    try:
        for batch in stream_files(table, old, table.schema().column_names):
            kept, cleared = _without(batch, ids)
            removed += batch.num_rows - kept.num_rows
            blanked += cleared
            writer.write(kept)
        new = writer.finish()
    except BaseException:
        writer.discard()
        raise
    try:
        replace_files(table, old, new, summary, {})
    except ChangedMeanwhileError:
        # After another failure, the commit may have happened: then these are files of the table.
        delete_files(table, (file.file_path for file in new))
        raise
    return removed, blanked


def _any_id(batch: pa.RecordBatch | pa.Table, ids: ErasedIds) -> bool:
    return any(pc.any(_is_in(batch[name], ids.of_column(name))).as_py() for name in batch.schema.names)


def _without(batch: pa.RecordBatch, ids: ErasedIds) -> tuple[pa.Table, int]:
    """Rows of a batch without those of erased images, and without the ids of erased persons; and how many lost ids."""
    rows = pa.Table.from_batches([batch])
    rows = rows.filter(pc.invert(_is_in(rows[_IMAGE], ids.images)))
    if _USER not in rows.column_names:
        return rows, 0
    by_user = _is_in(rows[_USER], ids.users)
    concerned = by_user
    for name in _ROWS:
        concerned = pc.or_(concerned, _is_in(rows[name], ids.rows))
    # A flag of another person on an erased comment has no row any more; that person's id stays.
    for name, blank in {_USER: by_user, **dict.fromkeys(_ROWS, concerned)}.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(
            place, rows.schema.field(place), pc.if_else(blank, pa.scalar(None, rows[name].type), rows[name])
        )
    return rows, pc.sum(concerned).as_py() or 0


def _is_in(column: pa.Array | pa.ChunkedArray, ids: frozenset[str]) -> pa.Array | pa.ChunkedArray:
    return pc.is_in(pc.utf8_lower(column), value_set=pa.array(sorted(ids), column.type))


def _purge(table: Table, ids: ErasedIds) -> tuple[tuple[str, ...], int]:
    """Expire all but the newest snapshot, and delete their files; returns the removed tags and the number of files."""
    before = files_of(table, table.metadata.snapshots)
    tags = tuple(sorted(name for name in table.metadata.refs if name != MAIN_BRANCH))
    for name in tags:
        with table.manage_snapshots() as change:
            is_tag = table.metadata.refs[name].snapshot_ref_type == SnapshotRefType.TAG
            change.remove_tag(name) if is_tag else change.remove_branch(name)
    current = table.metadata.current_snapshot_id
    old = [each.snapshot_id for each in table.metadata.snapshots if each.snapshot_id != current]
    if old:
        expire(table, old)
    table.refresh()
    referenced = files_of(table, table.metadata.snapshots)
    # Leftovers of merges and of dead runs wait for the maintenance. Those with an id cannot wait. Such a file is of no
    # run that may still commit, because each erasure commits.
    strays = {path for path in folder_files(table).keys() - referenced - before if _file_holds(table, path, ids)}
    gone = (before - referenced) | strays
    for path in gone:
        _delete(table, path)
    return tags, len(gone)


def _file_holds(table: Table, path: str, ids: ErasedIds) -> bool:
    if not path.endswith(".parquet"):
        return False
    try:
        return any(_any_id(batch, ids) for batch in read_parquet(table, path, lambda name: bool(ids.of_column(name))))
    except FileNotFoundError:
        return False  # deleted meanwhile


def _delete(table: Table, path: str) -> None:
    try:
        table.io.delete(path)
    except FileNotFoundError:
        log.debug("%s is gone already", path)
