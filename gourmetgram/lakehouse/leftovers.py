"""Removal of files that no snapshot of a table refers to: those of expired snapshots, and leftovers of dead runs."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import orjson
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from gourmetgram.lakehouse.files import delete_files
from gourmetgram.lakehouse.ownership import TableMark, folder_files, is_mark, lineage
from gourmetgram.moments import parse_utc, utc_text

log = logging.getLogger(__name__)

LEDGER: Final = "unreferenced-files.json"
"""File in a table's `metadata` folder: unreferenced files with the time at which each was first seen so."""

MAX_LEFTOVER_SHARE: Final = 0.2
"""Largest share of a folder that leftovers of dead runs can be. More mean that the catalog does not know its files."""

ALWAYS_ALLOWED: Final = 50
"""Leftovers up to this number are removed even from a small folder: one dead run may leave so many."""


class Ledger(NamedTuple):
    """Content of the ledger.

    Attributes:
        seen: when each unreferenced file was first seen, by location.
        expired: files that belong to snapshots which a maintenance has expired, so they are no leftovers.
    """

    seen: dict[str, datetime]
    expired: frozenset[str]


def remove_unreferenced(table: Table, mark: TableMark, grace: timedelta) -> int:
    """Delete the files of a folder that have been unreferenced for longer than the grace.

    Args:
        table: the table; it is refreshed.
        mark: mark of its folder.
        grace: time that an unreferenced file stays.

    Returns:
        Number of deleted files; 0 when leftovers are too large a share of the folder, which is logged.
    """
    present, unreferenced = compare_folder(table)
    now = datetime.now(UTC)
    ledger = read_ledger(table)
    seen = {path: ledger.seen.get(path, now) for path in unreferenced}
    due = [path for path, first_seen in seen.items() if now - first_seen >= grace]
    leftovers = [path for path in due if path not in ledger.expired and present[path] > mark.marked_at]
    if len(leftovers) > max(ALWAYS_ALLOWED, MAX_LEFTOVER_SHARE * len(present)):
        log.error(
            "No file of %s is removed: the catalog does not know %d of the %d files in the folder, and dead runs leave "
            "fewer. If this catalog is the right one, run `gourmetgram adopt tables`: then they are removed.",
            *(".".join(table.name()), len(leftovers), len(present)),
        )
        due = []
    delete_files(table, due)
    kept = unreferenced.difference(due)
    write_ledger(table, Ledger({path: seen[path] for path in kept}, ledger.expired & kept))
    return len(due)


def compare_folder(table: Table) -> tuple[dict[str, datetime], set[str]]:
    """Compare a table's folder with its metadata; refreshes the table.

    Returns:
        Time of the last change of each file in the folder by location, and the locations of the unreferenced ones.
    """
    # The folder is listed before the references: a file that is committed in between is seen as referenced.
    present = {path: changed for path, changed in folder_files(table).items() if not _is_own(table, path)}
    table.refresh()
    return present, present.keys() - files_of(table, table.metadata.snapshots) - _metadata_files(table)


def note_expired(table: Table, old: Iterable[Snapshot]) -> None:
    """Note the files of snapshots that are about to expire, so that they are not taken for leftovers."""
    expiring = {snapshot.snapshot_id: snapshot for snapshot in old}
    remaining = [snapshot for snapshot in table.metadata.snapshots if snapshot.snapshot_id not in expiring]
    ledger = read_ledger(table)
    gone = files_of(table, expiring.values()) - files_of(table, remaining)
    write_ledger(table, ledger._replace(expired=ledger.expired | gone))


def files_of(table: Table, snapshots: Iterable[Snapshot]) -> set[str]:
    """All files that snapshots refer to: lists of manifests, manifests and data files."""
    paths: set[str] = set()
    manifests: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        paths.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        paths.add(path)
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        paths |= {entry.data_file.file_path for entry in entries}
    return paths


def read_ledger(table: Table) -> Ledger:
    """The ledger of a table; empty without one."""
    source = table.io.new_input(_location(table))
    if not source.exists():
        return Ledger({}, frozenset())
    with source.open() as stream:
        document = orjson.loads(stream.read())
    # Earlier versions wrote the times alone.
    seen = document.get("seen", {}) if "expired" in document else document
    return Ledger(
        {path: parse_utc(first_seen) for path, first_seen in seen.items()}, frozenset(document.get("expired", ()))
    )


def write_ledger(table: Table, ledger: Ledger) -> None:
    """Store the ledger of a table."""
    document = {
        "seen": {path: utc_text(first_seen) for path, first_seen in ledger.seen.items()},
        "expired": sorted(ledger.expired),
    }
    with table.io.new_output(_location(table)).create(overwrite=True) as stream:
        stream.write(orjson.dumps(document))


def _metadata_files(table: Table) -> set[str]:
    statistics = {item.statistics_path for item in table.metadata.statistics}
    return lineage(table) | statistics | {item.statistics_path for item in table.metadata.partition_statistics}


def _is_own(table: Table, path: str) -> bool:
    return path == _location(table) or is_mark(table, path)


def _location(table: Table) -> str:
    return f"{table.location()}/metadata/{LEDGER}"
