"""The schema's revision that this code needs, for programs that only compare."""

from typing import Final

REVISION: Final = "0001"
"""Newest revision of `gourmetgram/database/migrations/versions`; revisions are numbers of four digits."""

REVISION_QUERY: Final = "SELECT version_num FROM alembic_version"
"""One row, or none; the table is missing in databases from the time before there were revisions."""


def is_behind(revision: str | None) -> bool:
    """Tell whether a database is too old for this code.

    Args:
        revision: the database's revision; None = it has none.
    """
    return revision is None or revision < REVISION


def name_of(revision: str | None) -> str:
    """A revision as log lines and messages call it."""
    return "no revision" if revision is None else f"revision {revision}"
