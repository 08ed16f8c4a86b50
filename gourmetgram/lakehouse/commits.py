"""Commits that succeed only on the snapshot they were prepared for.

A commit changes the snapshot's summary and the table's properties in one step: content and progress change together or
not at all. Nothing is retried here. PyIceberg's own retry would add the files on top of another writer's snapshot, so a
property switches it off; the property is checked before each commit.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Final

from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import TableUpdate
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.schemas import RETRY_PROPERTY

MAX_RUN_S: Final = 2_700.0
"""Longest time from the first file of a run to its commit. Later, the maintenance may have deleted the files as
orphans: files of a dead run leave the bucket after 3,600 s."""

_MANIFEST_BYTES: Final = 8 * 1024 * 1024


class _Transaction(Transaction):
    """A transaction that keeps the metadata it has built.

    PyIceberg copies all metadata at each access, some twenty times a commit: a fifth of a commit's work. No caller
    changes the returned metadata.
    """

    _built: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with the staged updates applied."""
        base, updates = self._table.metadata, self._updates
        if self._built is None or self._built[0] is not base or self._built[1] is not updates:
            self._built = base, updates, super().table_metadata
        return self._built[2]


class PreparationClock:
    """Time since the first file of a commit was begun, by two clocks.

    The monotonic clock stands still while a machine sleeps. The wall clock, by which the maintenance counts its grace,
    may be set back. So the larger time of both is taken.
    """

    def __init__(self) -> None:
        self._monotonic = time.monotonic()
        self._wall = time.time()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the clock was made."""
        return max(time.monotonic() - self._monotonic, time.time() - self._wall)


def begin(table: Table) -> Transaction:
    """Begin a transaction, like `table.transaction()`."""
    return _Transaction(table)


def append_files(
    table: Table, files: Iterable[DataFile], summary: Mapping[str, str], properties: Mapping[str, str]
) -> int:
    """Add files in one snapshot.

    Args:
        table: as loaded when the files were prepared; it is refreshed by the commit.
        files: may be empty: then the snapshot changes only the progress.
        summary: properties of the snapshot.
        properties: properties of the table.

    Returns:
        The snapshot's id.

    Raises:
        ChangedMeanwhileError: another snapshot came first; nothing was committed.
        TransientError: the catalog or the object store is away; the commit may or may not have happened.
    """
    _refuse_retries(table)
    with named_outages("new files could not be committed"):
        transaction = begin(table)
        with transaction.update_snapshot(snapshot_properties=dict(summary)).merge_append() as producer:
            for file in files:
                producer.append_data_file(file)
        _finish(transaction, properties)
    return producer.snapshot_id


def replace_files(
    table: Table,
    old: Iterable[DataFile],
    new: Iterable[DataFile],
    summary: Mapping[str, str],
    properties: Mapping[str, str],
) -> int:
    """Replace files by others in one snapshot; arguments, result and errors are those of `append_files`.

    Args:
        table: as loaded when the files were prepared; it is refreshed by the commit.
        old: files of the table's current snapshot.
        new: files that replace them.
        summary: properties of the snapshot.
        properties: properties of the table.
    """
    _refuse_retries(table)
    with named_outages("replaced files could not be committed"):
        transaction = begin(table)
        operation = Operation.OVERWRITE if table.current_snapshot() is not None else Operation.APPEND
        with _ReplaceFiles(operation, transaction, table.io, snapshot_properties=dict(summary)) as producer:
            for file in old:
                producer.delete_data_file(file)
            for file in new:
                producer.append_data_file(file)
        _finish(transaction, properties)
    return producer.snapshot_id


def set_properties(table: Table, properties: Mapping[str, str]) -> None:
    """Change properties of the table without a snapshot."""
    with named_outages("properties could not be committed"), begin(table) as transaction:
        transaction.set_properties(dict(properties))


def refuse_overdue(clock: PreparationClock) -> None:
    """Refuse a commit whose files were begun too long ago; call it before each commit.

    Args:
        clock: made before the first of the commit's files was written.

    Raises:
        TransientError: more than `MAX_RUN_S` seconds have passed.
    """
    if clock.elapsed_s > MAX_RUN_S:
        raise TransientError(
            f"preparing the commit took longer than {MAX_RUN_S:g} s, so its files may be gone: nothing was committed"
        )


class _ReplaceFiles(_OverwriteFiles):
    """PyIceberg's overwrite, which also merges manifests when they become many, as PyIceberg's appends do."""

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        properties = self._transaction.table_metadata.properties
        merging = _ManifestMergeManager(
            target_size_bytes=_MANIFEST_BYTES,
            min_count_to_merge=int(properties.get("commit.manifest.min-count-to-merge", "16")),
            merge_enabled=True,
            snapshot_producer=self,
        )
        return merging.merge_manifests(manifests)


def _finish(transaction: Transaction, properties: Mapping[str, str]) -> None:
    if properties:
        transaction.set_properties(dict(properties))
    transaction.commit_transaction()


def _refuse_retries(table: Table) -> None:
    if table.properties.get(RETRY_PROPERTY) != "0":
        raise PermanentError(
            f"property {RETRY_PROPERTY} of {'.'.join(table.name())} was changed from 0: a repeated commit could store "
            "records twice. It is set right at the start of the next run."
        )
