"""A dump shows the rows of its snapshot, and a restore happens as a whole or not at all."""

from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram_tools.backup.databases import (
    connected,
    dump,
    first_filled_table,
    other_clients,
    restore,
    shared_snapshot,
)

pytestmark = pytest.mark.servers

NEW_USER = "INSERT INTO users (username) VALUES (%s)"


def _names(url: str) -> list[str]:
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT username FROM users ORDER BY username")
        return [name for (name,) in cursor.fetchall()]


def _add(url: str, name: str) -> None:
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute(NEW_USER, (name,))


def test_rows_of_the_snapshot_come_back_with_the_last_statement(database_url: str, tmp_path: Path) -> None:
    assert first_filled_table(database_url) is None
    _add(database_url, "before")
    with shared_snapshot(database_url) as (_cursor, snapshot):
        _add(database_url, "after")
        dump(database_url, tmp_path / "dump", snapshot)
    restore(database_url, tmp_path / "dump", "UPDATE users SET country_of_residence = 'CH'")
    assert _names(database_url) == ["before"]
    assert first_filled_table(database_url) == "users"
    with connected(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT country_of_residence FROM users")
        assert cursor.fetchall() == [("CH",)]


def test_a_dump_that_ends_too_early_changes_nothing(database_url: str, tmp_path: Path) -> None:
    _add(database_url, "stays")
    dump(database_url, tmp_path / "dump")
    content = (tmp_path / "dump").read_bytes()
    (tmp_path / "dump").write_bytes(content[: len(content) - 200])
    before = _names(database_url)
    _add(database_url, "newer")
    with pytest.raises(PermanentError, match=r"was not restored, and .* is unchanged"):
        restore(database_url, tmp_path / "dump")
    assert _names(database_url) == sorted([*before, "newer"])


def test_a_statement_that_fails_changes_nothing(database_url: str, tmp_path: Path) -> None:
    dump(database_url, tmp_path / "dump")
    _add(database_url, "newest")
    with pytest.raises(PermanentError, match="no_such_table"):
        restore(database_url, tmp_path / "dump", "DELETE FROM no_such_table")
    assert "newest" in _names(database_url)


def test_programs_that_use_a_database_are_named(database_url: str) -> None:
    assert other_clients(database_url) == []
    with connected(f"{database_url}?application_name=someone"):
        assert other_clients(database_url) == ["someone"]
