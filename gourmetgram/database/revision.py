"""The schema's revision that this code needs, for programs that compare it without Alembic."""

from typing import Final

REVISION: Final = "0004"
"""Newest revision of `gourmetgram/database/migrations/versions`; revisions are numbers of four digits."""

REVISION_QUERY: Final = "SELECT version_num FROM alembic_version"
"""Returns one row or none. The table is missing in databases that are older than the first revision."""


def is_behind(revision: str | None) -> bool:
    """True if a database is too old for this code.

    Args:
        revision: the database's revision; None = it has none.
    """
    return revision is None or revision < REVISION


def name_of(revision: str | None) -> str:
    """Name of a revision in log lines and messages."""
    return "no revision" if revision is None else f"revision {revision}"
