"""Compaction, snapshot expiry and removal of unreferenced files, which keep tables small.

Runs at the end of each task, on that task's table, when a bound is exceeded. Bounds (see `MaintenancePolicy`): after
any number of runs a day has at most 8 small files beside its large ones, and a table at most 41 snapshots.

Readers and writers are never disturbed. Merged files replace old ones in an ordinary commit. A file leaves the bucket
only one hour after it was first seen unreferenced. A reader of an old snapshot has this hour to finish. A run whose
files are not committed yet has it too (a run that takes longer refuses to commit).
"""

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.commits import PreparationClock, refuse_overdue, replace_files
from gourmetgram.lakehouse.files import DataFileWriter, delete_files
from gourmetgram.lakehouse.leftovers import note_expired, remove_unreferenced
from gourmetgram.lakehouse.outages import ChangedMeanwhileError, named_outages
from gourmetgram.lakehouse.ownership import check, renew
from gourmetgram.lakehouse.progress import own_properties, summary_of
from gourmetgram.lakehouse.reading import stream_files
from gourmetgram.lakehouse.schemas import DEFINITIONS
from gourmetgram.lakehouse.tags import tags_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaintenancePolicy:
    """Bounds of a table.

    Attributes:
        small_file_bytes: a data file below this size is small.
        small_files_a_day: with more small files than this, a day's are merged.
        max_snapshots: with more than this, old ones expire; tagged ones do not count.
        keep_snapshots: number of newest snapshots that stay beside the tagged ones.
        grace: time that an unreferenced file stays in the bucket.
    """

    small_file_bytes: int = 16 * 1024 * 1024
    small_files_a_day: int = 8
    max_snapshots: int = 40
    keep_snapshots: int = 20
    grace: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class MaintenanceResult:
    """Result of a maintenance.

    Attributes:
        merged_files: small data files that were merged.
        new_files: data files that replaced them.
        expired_snapshots: number of expired snapshots.
        deleted_files: files (data and metadata) that left the bucket.
    """

    merged_files: int
    new_files: int
    expired_snapshots: int
    deleted_files: int


def maintain_quietly(table: Table, policy: MaintenancePolicy | None = None) -> None:
    """Call `maintain`, and only log a failure: the next run tries again, and the data is safe."""
    try:
        maintain(table, policy)
    except PlatformError as error:
        log.warning("%s was not maintained this time: %s", ".".join(table.name()), error)


def maintain(table: Table, policy: MaintenancePolicy | None = None, *, clean: bool = False) -> MaintenanceResult:
    """Merge small files, expire snapshots, and delete unreferenced files, where a bound is exceeded.

    Args:
        table: a table of the platform, freshly loaded.
        policy: the bounds.
        clean: search for unreferenced files even when nothing was merged or expired.

    Raises:
        ChangedMeanwhileError: another writer committed during the merge; nothing was changed.
        TransientError: a server is away.
    """
    policy = policy or MaintenancePolicy()
    with named_outages(f"{'.'.join(table.name())} could not be maintained"):
        mark = check(table)
        merged, new = merge_small_files(table, policy)
        expired = _expire(table, policy)
        deleted = 0
        if mark:
            if clean or merged or expired:
                deleted = remove_unreferenced(table, mark, policy.grace)
            renew(table, mark)
    result = MaintenanceResult(merged, new, expired, deleted)
    if merged or expired or deleted:
        log.info("Maintained %s: %s", ".".join(table.name()), result)
    return result


def merge_small_files(table: Table, policy: MaintenancePolicy) -> tuple[int, int]:
    """Merge the small files of each day that has too many, all in one commit; only in tables of `DEFINITIONS`.

    Returns:
        The number of merged files, and the number of files that replaced them.
    """
    definition = DEFINITIONS.get(".".join(table.name()))
    old = _too_many_small(table, policy) if definition else []
    if not definition or not old:
        return 0, 0
    clock = PreparationClock()
    writer = DataFileWriter(table, definition)
    try:
        for batch in stream_files(table, old, table.schema().column_names):
            writer.write(pa.Table.from_batches([batch]))
        new = writer.finish()
    except BaseException:
        writer.discard()
        raise
    refuse_overdue(clock)
    try:
        replace_files(table, old, new, carried_summary(table), {})
    except ChangedMeanwhileError:
        delete_files(table, (file.file_path for file in new))
        raise
    return len(old), len(new)


def _too_many_small(table: Table, policy: MaintenancePolicy) -> list[DataFile]:
    by_day: dict[int, list[DataFile]] = defaultdict(list)
    for task in table.scan().plan_files():
        if task.file.file_size_in_bytes < policy.small_file_bytes:
            by_day[task.file.partition[0]].append(task.file)
    crowded = [files for files in by_day.values() if len(files) > policy.small_files_a_day]
    return [file for files in crowded for file in files]


def carried_summary(table: Table) -> dict[str, str]:
    """Own properties of the newest snapshot that has any; a change of files without new events leaves them true."""
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        own = own_properties(summary_of(snapshot))
        if own:
            return own
    return {}


def _expire(table: Table, policy: MaintenancePolicy) -> int:
    """Expire all but the newest snapshots; snapshots of branches and tags stay."""
    tagged = set(tags_of(table).values())
    untagged = [snapshot for snapshot in table.metadata.snapshots if snapshot.snapshot_id not in tagged]
    if len(untagged) <= policy.max_snapshots:
        return 0
    heads = {ref.snapshot_id for ref in table.metadata.refs.values()}
    untagged.sort(key=lambda snapshot: snapshot.sequence_number or 0)
    old = [snapshot for snapshot in untagged[: -policy.keep_snapshots] if snapshot.snapshot_id not in heads]
    if not old:
        return 0
    note_expired(table, old)
    expire(table, [snapshot.snapshot_id for snapshot in old])
    return len(old)


def expire(table: Table, snapshot_ids: list[int]) -> None:
    """Remove snapshots from a table's metadata; their files stay in the bucket.

    Raises:
        ChangedMeanwhileError: another maintenance has just expired one of them.
    """
    try:
        table.maintenance.expire_snapshots().by_ids(snapshot_ids).commit()
    except ValueError as error:
        raise ChangedMeanwhileError(f"snapshots were not expired: {error}") from error
