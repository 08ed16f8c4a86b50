"""Folders for large temporary files, and the removal of those that killed processes left behind."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

_PREFIX: Final = "gourmetgram-scratch-"
ABANDONED_AFTER_S: Final = 86_400.0
"""Age at which a folder counts as abandoned, seconds: no task runs for a day."""


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Make a folder for temporary files; it is removed at the end of the block.

    The folder lies where Python puts temporary files, in the containers that use much of it on a disk. A killed process
    cannot remove its folder, so folders that have not changed for a day are removed first.

    Args:
        purpose: part of the folder's name.
    """
    _remove_abandoned()
    with TemporaryDirectory(prefix=f"{_PREFIX}{purpose}-") as name:
        yield Path(name)


def _remove_abandoned() -> None:
    latest = time.time() - ABANDONED_AFTER_S
    for folder in Path(gettempdir()).glob(f"{_PREFIX}*"):
        try:
            abandoned = folder.stat().st_mtime < latest
        except FileNotFoundError:  # another process was faster
            continue
        if abandoned:
            shutil.rmtree(folder, ignore_errors=True)
