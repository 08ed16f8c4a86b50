"""Compaction, snapshot expiry and removal of unreferenced files, which keep tables small.

Runs at the end of each task, on that task's table, when a bound is exceeded. Bounds (see `MaintenancePolicy`): after
any number of runs a day has at most 8 small files beside its large ones, and a table at most 41 snapshots.

Readers and writers are never disturbed. Merged files replace old ones in an ordinary commit. A file leaves the bucket
only one hour after it was first seen unreferenced. A reader of an old snapshot has this hour to finish. A run whose
files are not committed yet has it too (a run that takes longer refuses to commit).
"""

import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

from gourmetgram.errors import PermanentError, PlatformError
from gourmetgram.lakehouse.commits import refuse_overdue, replace_files
from gourmetgram.lakehouse.files import DataFileWriter, delete_files
from gourmetgram.lakehouse.outages import ChangedMeanwhileError, named_outages
from gourmetgram.lakehouse.progress import own_properties, summary_of
from gourmetgram.lakehouse.reading import stream_files
from gourmetgram.lakehouse.schemas import DEFINITIONS
from gourmetgram.moments import parse_utc, utc_text

log = logging.getLogger(__name__)

LEDGER: Final = "unreferenced-files.json"
"""File in a table's `metadata` folder: path -> time at which it was first seen unreferenced."""


@dataclass(frozen=True)
class MaintenancePolicy:
    """Bounds of a table.

    Attributes:
        small_file_bytes: a data file below this size is small.
        small_files_a_day: with more small files than this, a day's are merged.
        max_snapshots: with more than this, old ones expire.
        keep_snapshots: number of newest snapshots that stay.
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
        table: a table of this package, freshly loaded.
        policy: the bounds.
        clean: search for unreferenced files even when nothing was merged or expired.

    Raises:
        ChangedMeanwhileError: another writer committed during the merge; nothing was changed.
        TransientError: a server is away.
    """
    policy = policy or MaintenancePolicy()
    with named_outages(f"{'.'.join(table.name())} could not be maintained"):
        merged, new = merge_small_files(table, policy)
        expired = _expire(table, policy)
        deleted = _clean(table, policy) if clean or merged or expired else 0
    result = MaintenanceResult(merged, new, expired, deleted)
    if merged or expired or deleted:
        log.info("Maintained %s: %s", ".".join(table.name()), result)
    return result


def merge_small_files(table: Table, policy: MaintenancePolicy) -> tuple[int, int]:
    """Merge the small files of each day that has too many, all in one commit.

    Returns:
        The number of merged files, and the number of files that replaced them.
    """
    old = _too_many_small(table, policy)
    if not old:
        return 0, 0
    started = time.monotonic()
    writer = DataFileWriter(table, DEFINITIONS[".".join(table.name())])
    try:
        for batch in stream_files(table, old, table.schema().column_names):
            writer.write(pa.Table.from_batches([batch]))
        new = writer.finish()
    except BaseException:
        writer.discard()
        raise
    refuse_overdue(started)
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
    """Own properties of the newest snapshot; a merge changes no content, so they stay true."""
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        own = own_properties(summary_of(snapshot))
        if own:
            return own
    return {}


def _expire(table: Table, policy: MaintenancePolicy) -> int:
    """Expire all but the newest snapshots; snapshots of branches and tags stay."""
    snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
    if len(snapshots) <= policy.max_snapshots:
        return 0
    kept = {ref.snapshot_id for ref in table.metadata.refs.values()}
    old = [snapshot.snapshot_id for snapshot in snapshots[: -policy.keep_snapshots] if snapshot.snapshot_id not in kept]
    if not old:
        return 0
    try:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    except ValueError as error:
        # PyIceberg's error when another maintenance has just expired one of them.
        raise ChangedMeanwhileError(f"snapshots were not expired: {error}") from error
    return len(old)


def _clean(table: Table, policy: MaintenancePolicy) -> int:
    """Delete the files of the table's folder that have been unreferenced for longer than the grace."""
    # The folder is listed before the references: a file that is committed in between is seen as referenced.
    present = files_in_folder(table)
    table.refresh()
    unreferenced = present - _referenced(table)
    now = datetime.now(UTC)
    ledger = _read_ledger(table)
    since = {path: ledger.get(path, now) for path in unreferenced}
    due = [path for path, first_seen in since.items() if now - first_seen >= policy.grace]
    delete_files(table, due)
    _write_ledger(table, {path: since[path] for path in unreferenced.difference(due)})
    return len(due)


def files_in_folder(table: Table) -> set[str]:
    """Locations of all files in the table's folder, except the ledger."""
    if not isinstance(table.io, PyArrowFileIO):
        raise PermanentError(f"PyIceberg was set to {type(table.io).__name__}; this program needs PyArrowFileIO")
    scheme, place, path = PyArrowFileIO.parse_location(table.location())
    filesystem = table.io.fs_by_scheme(scheme, place)
    found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    locations = {f"{scheme}://{info.path}" for info in found if info.type == pafs.FileType.File}
    return locations - {_ledger_location(table)}


def _referenced(table: Table) -> set[str]:
    """All files that the table's metadata refers to, over all of its snapshots."""
    paths = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    paths |= {item.statistics_path for item in table.metadata.statistics}
    paths |= {item.statistics_path for item in table.metadata.partition_statistics}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in table.metadata.snapshots:
        paths.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        paths.add(path)
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        paths |= {entry.data_file.file_path for entry in entries}
    return paths


def _ledger_location(table: Table) -> str:
    return f"{table.location()}/metadata/{LEDGER}"


def _read_ledger(table: Table) -> dict[str, datetime]:
    source = table.io.new_input(_ledger_location(table))
    if not source.exists():
        return {}
    with source.open() as stream:
        document: dict[str, str] = orjson.loads(stream.read())
    return {path: parse_utc(first_seen) for path, first_seen in document.items()}


def _write_ledger(table: Table, since: dict[str, datetime]) -> None:
    document = {path: utc_text(first_seen) for path, first_seen in since.items()}
    with table.io.new_output(_ledger_location(table)).create(overwrite=True) as stream:
        stream.write(orjson.dumps(document))
