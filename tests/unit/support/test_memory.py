"""Where the tests keep the files of their servers."""

import os
from pathlib import Path

import pytest

from tests.support import memory

SETTINGS = ("GOURMETGRAM_STACK_HOME", "GOURMETGRAM_SYSTEM_HOME")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        # Set first, so that they are as they were after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True, name="shared_memory")
def shared_memory_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(memory, "_ROOM", 0)
    monkeypatch.setattr(memory, "_FREE", 0)
    return tmp_path


def places() -> list[Path]:
    return [Path(os.environ[name]) for name in SETTINGS if name in os.environ]


def test_the_last_run_deletes_them(shared_memory: Path) -> None:
    with memory.files_in_memory(keep=False):
        stacks, system = places()
        assert memory.in_memory(stacks)
        assert memory.in_memory(system)
        stacks.mkdir()
        # Another process, which knows no settings yet.
        for name in SETTINGS:
            del os.environ[name]
        with memory.files_in_memory(keep=False):
            assert places() == [stacks, system]
        assert stacks.exists()
    assert list(shared_memory.iterdir()) == []


def test_files_of_servers_that_a_killed_run_left_stay() -> None:
    with memory.files_in_memory(keep=False):
        left = places()[0] / "consumer-faults" / "supervisord.pid"
        left.parent.mkdir(parents=True)
        left.write_text("1")
    assert left.exists()


def test_they_can_be_kept(shared_memory: Path) -> None:
    with memory.files_in_memory(keep=True):
        pass
    assert len(list(shared_memory.iterdir())) == 1


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_ones_own_is_not_changed(name: str, monkeypatch: pytest.MonkeyPatch, shared_memory: Path) -> None:
    monkeypatch.setenv(name, "/somewhere")
    with memory.files_in_memory(keep=False):
        assert places() == [Path("/somewhere")]
    assert list(shared_memory.iterdir()) == []


@pytest.mark.parametrize("limit", ["_ROOM", "_FREE"])
def test_without_room_they_stay_on_the_disk(limit: str, monkeypatch: pytest.MonkeyPatch, shared_memory: Path) -> None:
    monkeypatch.setattr(memory, limit, 2**60)
    with memory.files_in_memory(keep=False):
        assert places() == []
    assert list(shared_memory.iterdir()) == []


def test_a_link_that_somebody_left_there_is_not_followed(shared_memory: Path) -> None:
    with memory.files_in_memory(keep=False):
        folder = places()[0].parent
    folder.symlink_to(shared_memory)
    for name in SETTINGS:
        del os.environ[name]
    with memory.files_in_memory(keep=False):
        assert places() == []


def test_without_shared_memory_they_stay_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_SHARED_MEMORY", tmp_path / "not-on-this-system")
    with memory.files_in_memory(keep=False):
        assert places() == []
    assert list(tmp_path.iterdir()) == []
