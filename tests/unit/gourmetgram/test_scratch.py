"""Temporary folders go, those of killed processes too."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from gourmetgram.scratch import ABANDONED_AFTER_S, scratch_folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for all temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_there_for_the_block_only(place: Path) -> None:
    with scratch_folder("test") as folder:
        (folder / "file").write_text("x")
        assert folder.parent == place
    assert list(place.iterdir()) == []


def test_folders_that_killed_processes_left_are_removed_and_all_else_stays(place: Path) -> None:
    names = ("gourmetgram-scratch-old-1", "gourmetgram-scratch-young-1", "another-program")
    for name in names:
        (place / name).mkdir()
        (place / name / "file").write_text("x")
    long_ago = time.time() - ABANDONED_AFTER_S - 1
    for name in (names[0], names[2]):
        os.utime(place / name, (long_ago, long_ago))
    with scratch_folder("test"):
        pass
    assert {folder.name for folder in place.iterdir()} == set(names[1:])


@pytest.mark.parametrize("age_s", [ABANDONED_AFTER_S - 60, 0])
def test_a_folder_that_may_be_in_use_stays(place: Path, age_s: float) -> None:
    folder = place / "gourmetgram-scratch-other-1"
    folder.mkdir()
    os.utime(folder, (time.time() - age_s,) * 2)
    with scratch_folder("test"):
        assert folder.exists()
