"""Files of the test servers in memory, where there is plenty of it.

On a disk a tenth of the suite's time goes to the file system. What the tests prove does not depend on it: they kill
processes, not machines.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

import psutil

from gourmetgram.settings import PROJECT_ROOT

_SETTING = "GOURMETGRAM_STACK_HOME"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of this user's own in it is used
# The files take up to 1 GiB, the programs of a whole run up to 6 GiB.
_ROOM = 3 * 2**30
_FREE = 10 * 2**30


def use_memory() -> None:
    """Let stacks of this process and of those that it starts live in memory, unless a setting says where they live."""
    folder = _folder()
    if _SETTING in os.environ or not (folder.exists() or _has_room()):
        return
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # Everybody may make folders in shared memory.
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        return
    os.environ[_SETTING] = str(folder)


def in_memory(home: Path) -> bool:
    """Tell whether a stack's home is the folder in memory."""
    return home == _folder()


def _folder() -> Path:
    checkout = hashlib.sha256(str(PROJECT_ROOT).encode()).hexdigest()[:8]
    return _SHARED_MEMORY / f"gourmetgram-tests-{os.geteuid()}-{checkout}"


def _has_room() -> bool:
    if not _SHARED_MEMORY.is_dir() or not os.access(_SHARED_MEMORY, os.W_OK):
        return False
    return shutil.disk_usage(_SHARED_MEMORY).free >= _ROOM and psutil.virtual_memory().available >= _FREE
