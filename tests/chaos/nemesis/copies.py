"""Copies of a server's files, as those of a disk that is set back."""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gourmetgram_tools.local.stack import Stack


class DiskCopy:
    """Copy of the folders of one server, which was frozen meanwhile.

    Args:
        stack: the stack of the server.
        server: its name.
        home: folder for the copy.
        folders: folders to copy; they are looked up for each copy.
    """

    def __init__(self, stack: Stack, server: str, home: Path, folders: Callable[[], Sequence[Path]]) -> None:
        self._stack = stack
        self._server = server
        self._home = home / f"copy-of-{server}"
        self._folders = folders
        self._began_s = 0.0
        self.made_at: datetime | None = None
        """Time of the copy; None without one."""

    def exists(self) -> bool:
        """True when there is a copy."""
        return self.made_at is not None

    def is_older_than(self, seconds: float) -> bool:
        """True when there is no copy, or an older one."""
        return self.made_at is None or time.monotonic() - self._began_s > seconds

    def make(self) -> None:
        """Copy the files, as a backup of a running server would find them."""
        self.drop()
        self._home.mkdir()
        self._began_s, made_at = time.monotonic(), datetime.now(UTC)
        self._stack.pause(self._server)
        try:
            for folder in self._folders():
                _copy(folder, self._home / folder.name)
        finally:
            self._stack.resume(self._server)
        self.made_at = made_at

    def put_back(self) -> None:
        """Give the server the files of the copy: all that it got since is lost. The server is stopped."""
        for folder in self._folders():
            shutil.rmtree(folder)
            _copy(self._home / folder.name, folder)

    def drop(self) -> None:
        """Remove the copy."""
        self.made_at = None
        shutil.rmtree(self._home, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copy with owners; Kafka's indexes are large files with holes."""
    subprocess.run(["cp", "-a", "--sparse=always", str(source), str(target)], check=True)
