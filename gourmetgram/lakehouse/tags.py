"""Tags of a table's snapshots: a tagged snapshot does not expire."""

import logging
from collections.abc import Mapping
from typing import Final

from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from gourmetgram.lakehouse.outages import ChangedMeanwhileError, named_outages

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 5


def tags_of(table: Table, prefix: str = "") -> dict[str, int]:
    """The tags of a table whose names begin with a prefix, with their snapshots' ids."""
    return {
        name: ref.snapshot_id
        for name, ref in table.metadata.refs.items()
        if ref.snapshot_ref_type == SnapshotRefType.TAG and name.startswith(prefix)
    }


@retry(
    retry=retry_if_exception_type(ChangedMeanwhileError),
    stop=stop_after_attempt(_ATTEMPTS),
    wait=wait_random(0.05, 0.3),
    reraise=True,
)
def set_tags(table: Table, wanted: Mapping[str, int], prefix: str | None = None) -> None:
    """Set tags, and remove the others with a prefix; refreshes the table.

    A wanted snapshot that the table no longer has is logged.

    Args:
        table: a table of the platform.
        wanted: snapshot id by the name of its tag.
        prefix: tags whose names begin with it, and that are not wanted, are removed; None = none is.

    Raises:
        TransientError: the catalog or the object store is away, or other writers changed the table at each attempt.
    """
    with named_outages(f"the tags of {'.'.join(table.name())} could not be written"):
        table.refresh()
        present = tags_of(table)
        snapshots = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
        new = {name: each for name, each in wanted.items() if each in snapshots and present.get(name) != each}
        for name in sorted(name for name, each in wanted.items() if each not in snapshots):
            log.warning("%s: snapshot %d of tag %s has expired", ".".join(table.name()), wanted[name], name)
        outdated = sorted(tags_of(table, prefix).keys() - wanted.keys()) if prefix else []
        if not new and not outdated:
            return
        with table.manage_snapshots() as change:
            for name in outdated:
                change.remove_tag(name)
            for name, snapshot_id in new.items():
                change.create_tag(snapshot_id, name)
