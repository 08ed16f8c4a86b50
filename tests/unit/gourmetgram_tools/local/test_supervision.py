"""Files of supervisord: nothing of a stack is readable or answered by another user."""

import os
import tempfile
from pathlib import Path

import pytest

from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.supervision import Supervisor, refuse_foreign_folder


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that all users share."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_configuration_with_its_passwords_is_private(tmp_path: Path) -> None:
    layout = Layout("mine", tmp_path)
    Supervisor(layout).write_config("environment = PASSWORD=secret\n")
    assert layout.supervisor_config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_folder_for_sockets_that_another_user_may_write_to_is_refused(shared: Path, kind: str) -> None:
    folder = shared / "gourmetgram-1"
    if kind == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "a link":
        (shared / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(shared / "elsewhere")
    else:
        folder.touch(0o600)
    with pytest.raises(StackError, match="only you can write to"):
        refuse_foreign_folder(folder)


def test_a_folder_for_sockets_of_another_user_is_refused(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared / "gourmetgram-1"
    folder.mkdir(mode=0o700)
    refuse_foreign_folder(folder)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(StackError, match="GOURMETGRAM_STACK_HOME"):
        refuse_foreign_folder(folder)


def test_no_command_is_sent_to_a_socket_in_a_foreign_folder(shared: Path) -> None:
    layout = Layout("mine", shared / ("deep" * 20))
    folder = layout.supervisor_socket.parent
    assert folder.parent == shared
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StackError, match="only you can write to"):
        Supervisor(layout).running()
