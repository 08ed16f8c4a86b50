"""Owner marks of the tables' folders: a catalog removes files only in a folder that is known to be its own.

PyIceberg puts a new table of the same name into the folder of the old one. So a catalog that was lost, emptied or
restored to an earlier state would find the files of the true tables unreferenced. Each folder therefore has a mark with
the UUID of its table and the newest metadata file that a maintenance has seen. A catalog owns the folder if its table
has this UUID and that file belongs to the table's history.
"""

import logging
import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson
import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.moments import parse_utc, utc_text

log = logging.getLogger(__name__)

MARK: Final = ".owner"
"""File in a table's `metadata` folder."""

_METADATA: Final = re.compile(r"/metadata/(\d+)-[^/]*\.metadata\.json$")


class TableMark(NamedTuple):
    """Content of a mark.

    Attributes:
        table_uuid: Iceberg's UUID of the table.
        metadata: newest metadata file of the table that a maintenance has seen.
        marked_at: time of the first mark, or of the last adoption: unreferenced files that are older may go.
        contested: True once a maintenance met an earlier state of the table than the folder's; an adoption ends it.
    """

    table_uuid: str
    metadata: str
    marked_at: datetime
    contested: bool = False


def check(table: Table) -> TableMark | None:
    """Compare a table with its folder's mark; refreshes the table.

    A folder without a mark is owned if all metadata files in it belong to the table and none is newer than it.

    Returns:
        The mark, for `renew`; None when the folder belongs to another table or to a later state of this one. That is
        logged.

    Raises:
        TransientError: the object store is away.
    """
    # The mark is read first: a mark of another process is then never newer than the refreshed table.
    mark = read_mark(table)
    table.refresh()
    reason = _refusal(table, mark)
    mark = mark or TableMark(str(table.metadata.table_uuid), "", datetime.now(UTC))
    if not reason:
        return mark
    log.error("No file of %s is removed: %s", ".".join(table.name()), reason)
    if mark.table_uuid == str(table.metadata.table_uuid) and not mark.contested:
        # The table's history forgets old metadata, so that a later comparison could not see it any more.
        _write(table, mark._replace(contested=True))
    return None


def renew(table: Table, mark: TableMark) -> None:
    """Note the table's present state in the mark of its folder.

    Args:
        table: as it is after the maintenance.
        mark: result of `check`.

    Raises:
        TransientError: the object store is away.
    """
    if mark.metadata != table.metadata_location:
        _write(table, mark._replace(metadata=table.metadata_location))


def refusal(table: Table) -> str | None:
    """Reason for which a maintenance removes no file of a table, and the remedy; None for an owned folder.

    Raises:
        TransientError: the object store is away.
    """
    with named_outages(f"the mark of {'.'.join(table.name())} could not be read"):
        mark = read_mark(table)
        table.refresh()
        return _refusal(table, mark)


def adopt(table: Table) -> None:
    """Mark a folder as that of a table, whatever its mark says; its unreferenced files may go from now on.

    Raises:
        TransientError: the object store is away.
    """
    with named_outages(f"the folder of {'.'.join(table.name())} could not be adopted"):
        table.refresh()
        _write(table, TableMark(str(table.metadata.table_uuid), table.metadata_location, datetime.now(UTC)))


def read_mark(table: Table) -> TableMark | None:
    """The mark of a table's folder; None without one."""
    try:
        with table.io.new_input(_location(table)).open() as stream:
            document = orjson.loads(stream.read())
    except FileNotFoundError:
        return None
    return TableMark(**{**document, "marked_at": parse_utc(document["marked_at"])})


def is_mark(table: Table, location: str) -> bool:
    """True for the location of the folder's mark."""
    return location == _location(table)


def folder_files(table: Table, below: str = "") -> dict[str, datetime]:
    """Time of the last change of each file in a table's folder, by location.

    Args:
        table: the table.
        below: only files in this folder of it, e.g. `/metadata`.
    """
    if not isinstance(table.io, PyArrowFileIO):
        raise PermanentError(f"PyIceberg was set to {type(table.io).__name__}; this program needs PyArrowFileIO")
    scheme, place, path = PyArrowFileIO.parse_location(table.location() + below)
    found = table.io.fs_by_scheme(scheme, place).get_file_info(
        pafs.FileSelector(path, recursive=True, allow_not_found=True)
    )
    return {f"{scheme}://{info.path}": info.mtime for info in found if info.type == pafs.FileType.File}


def lineage(table: Table) -> set[str]:
    """The table's metadata file and those before it, as far as the table remembers them."""
    return {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}


def _refusal(table: Table, mark: TableMark | None) -> str | None:
    remedy = (
        "If this catalog is the right one, run `gourmetgram adopt tables`; if not, stop the DAGs and restore the right "
        "one first."
    )
    if mark is None:
        strange = _strange_metadata(table)
        if not strange:
            return None
        return f"its folder has metadata of another table or of a later state, {min(strange)}. {remedy}"
    if mark.table_uuid != str(table.metadata.table_uuid):
        return (
            f"its folder belongs to table {mark.table_uuid}, and the catalog's is {table.metadata.table_uuid}. {remedy}"
        )
    if mark.contested or (mark.metadata not in lineage(table) and _number(mark.metadata) >= _oldest_known(table)):
        return f"the catalog is older than its folder, it was restored from a backup. {remedy}"
    return None


def _strange_metadata(table: Table) -> list[str]:
    """Metadata files in the folder that are of another table, or newer than the table."""
    known = lineage(table)
    newest = _number(table.metadata_location)
    files = {path: _number(path) for path in folder_files(table, "/metadata") if path.endswith(".metadata.json")}
    unknown = {path: number for path, number in files.items() if path not in known}
    return [path for path, number in unknown.items() if number > newest or _is_of_another(table, path)]


def _is_of_another(table: Table, path: str) -> bool:
    """True for metadata of another table with content; an attempt to create an existing table leaves one without."""
    found = FromInputFile.table_metadata(table.io.new_input(path))
    return found.table_uuid != table.metadata.table_uuid and bool(found.snapshots)


def _oldest_known(table: Table) -> int:
    return min(_number(location) for location in lineage(table))


def _number(location: str) -> int:
    """Number of a metadata file in its table's history; PyIceberg counts its names up."""
    found = _METADATA.search(location)
    return int(found[1]) if found else 0


def _write(table: Table, mark: TableMark) -> None:
    with table.io.new_output(_location(table)).create(overwrite=True) as stream:
        stream.write(orjson.dumps({**mark._asdict(), "marked_at": utc_text(mark.marked_at)}))


def _location(table: Table) -> str:
    return f"{table.location()}/metadata/{MARK}"
