"""Atomic writing of a file, and its permissions."""

import os
from pathlib import Path

import pytest

from gourmetgram.files import replace_file


@pytest.fixture(autouse=True)
def _generous_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_private_file_is_private_before_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    opened = os.fdopen

    def look(descriptor: int, *arguments: str, **options: str) -> object:
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        return opened(descriptor, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "fdopen", look)
    replace_file(tmp_path / "key", "secret", mode=0o600)
    assert modes == [0o600]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").read_text() == "secret"


def test_a_file_becomes_private_with_its_next_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("old")
    replace_file(tmp_path / "key", "new", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_the_rest_of_an_interrupted_writing_is_no_hindrance_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("untouched")
    (tmp_path / "key.new").symlink_to(tmp_path / "elsewhere")
    replace_file(tmp_path / "key", "text")
    assert (tmp_path / "elsewhere").read_text() == "untouched"
    assert not (tmp_path / "key").is_symlink()
