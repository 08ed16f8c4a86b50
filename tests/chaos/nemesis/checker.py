"""Checker: compares the clients' history with the rows, then all stores with each other."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, text

from tests.chaos.nemesis.history import History, Kind, Operation, Outcome

_ROWS: Final[Mapping[Kind, str]] = {
    Kind.USER: "SELECT username, id::text FROM users",
    Kind.UPLOAD: "SELECT caption, id::text FROM images",
    Kind.COMMENT: "SELECT content, id::text FROM comments",
    Kind.FLAG: "SELECT reason, id::text FROM flags",
}
_VIEWS: Final = "SELECT id::text, COALESCE(views, 0) FROM images"


@dataclass(frozen=True)
class StoredRows:
    """Contents of the database, as far as the clients can know them.

    Attributes:
        ids: ids of the rows with a client's text, by kind and text.
        views: views by image id.
    """

    ids: Mapping[Kind, Mapping[str, list[str]]]
    views: Mapping[str, int]


def read_rows(engine: Engine) -> StoredRows:
    """Rows of all clients."""
    ids: dict[Kind, dict[str, list[str]]] = {}
    with engine.connect() as connection:
        for kind, query in _ROWS.items():
            found: dict[str, list[str]] = {}
            for key, row_id in connection.execute(text(query)):
                found.setdefault(key, []).append(row_id)
            ids[kind] = found
        views = {image_id: int(count) for image_id, count in connection.execute(text(_VIEWS))}
    return StoredRows(ids, views)


def violations(history: History, stored: StoredRows) -> list[str]:
    """Sentences about each answer that the rows contradict; empty when they agree.

    An acknowledged write has one row with the id of the answer. A refused write has none. A write with an unknown end
    has one or none. The views of an image are at least the acknowledged ones, and at most these and the unknown ones.
    """
    operations = list(history)
    written = [operation for operation in operations if operation.kind is not Kind.VIEW]
    viewed = [operation for operation in operations if operation.kind is Kind.VIEW]
    broken = [f"{o.kind} {o.key}: {o.detail}" for o in operations if o.outcome is Outcome.BROKEN]
    return [*broken, *_row_violations(written, stored.ids), *_view_violations(viewed, stored.views)]


def _row_violations(written: Iterable[Operation], ids: Mapping[Kind, Mapping[str, list[str]]]) -> list[str]:
    found = []
    for operation in written:
        rows = ids[operation.kind].get(operation.key, [])
        name = f"{operation.kind} {operation.key} ({operation.detail})"
        if operation.outcome is Outcome.ACKNOWLEDGED and rows != [operation.row_id]:
            found.append(f"{name} was acknowledged as {operation.row_id}; its rows are {rows}")
        if operation.outcome is Outcome.REFUSED and rows:
            found.append(f"{name} was refused; its rows are {rows}")
        if operation.outcome is Outcome.UNKNOWN and len(rows) > 1:
            found.append(f"{name} is there more than once: {rows}")
    return found


def _view_violations(viewed: Iterable[Operation], views: Mapping[str, int]) -> list[str]:
    least: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for operation in viewed:
        least[operation.key] += operation.outcome is Outcome.ACKNOWLEDGED
        most[operation.key] += operation.outcome in (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN)
    return [
        f"image {image_id} has {views.get(image_id, 0)} views; {least[image_id]} were acknowledged, "
        f"{most[image_id] - least[image_id]} have an unknown end"
        for image_id in most
        if not least[image_id] <= views.get(image_id, 0) <= most[image_id]
    ]
