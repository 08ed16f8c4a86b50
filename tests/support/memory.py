"""Files of the test servers in memory, where there is plenty of it.

On a disk a tenth of the suite's time goes to the file system. What the tests prove does not depend on it: they kill
processes, not machines.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from gourmetgram.settings import PROJECT_ROOT
from tests.support.shared_stack import try_exclusive

_SETTINGS = {"GOURMETGRAM_STACK_HOME": "stacks", "GOURMETGRAM_SYSTEM_HOME": "system"}
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of this user's own in it is used
# The files of a whole run take 0.65 GiB, its programs six.
_ROOM = 2**30
_FREE = 8 * 2**30


@contextmanager
def files_in_memory(keep: bool) -> Iterator[None]:
    """Let stacks of this process, and of those that it starts, live in memory, unless a setting says where they live.

    Args:
        keep: leave the files there; otherwise the last run that uses them deletes them.
    """
    folder = _folder()
    if not _SETTINGS.keys().isdisjoint(os.environ) or not (_is_ours(folder) or _has_room()):
        yield
        return
    try:
        # As root, PostgreSQL runs as another user, who must get to its files.
        folder.mkdir(mode=0o711)
    except FileExistsError:
        if not _is_ours(folder):  # everybody may make folders in shared memory
            yield
            return
    os.environ |= {setting: str(folder / name) for setting, name in _SETTINGS.items()}
    with (folder / "in-use").open("w") as use:
        fcntl.flock(use, fcntl.LOCK_SH)
        yield
        if not keep:
            _delete_unless_used(folder, use.fileno())


def in_memory(home: Path) -> bool:
    """Tell whether a stack's home is in memory."""
    return home.is_relative_to(_folder())


def _folder() -> Path:
    checkout = hashlib.sha256(str(PROJECT_ROOT).encode()).hexdigest()[:8]
    return _SHARED_MEMORY / f"gourmetgram-tests-{os.geteuid()}-{checkout}"


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.geteuid()


def _has_room() -> bool:
    if not _SHARED_MEMORY.is_dir() or not os.access(_SHARED_MEMORY, os.W_OK):
        return False
    return shutil.disk_usage(_SHARED_MEMORY).free >= _ROOM and psutil.virtual_memory().available >= _FREE


def _delete_unless_used(folder: Path, use: int) -> None:
    # Servers that a killed run has left are stopped by the next one that needs theirs, which finds them by their files.
    if try_exclusive(use) and not any(folder.glob("stacks/*/supervisord.pid")):
        shutil.rmtree(folder, ignore_errors=True)
