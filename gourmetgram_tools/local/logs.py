"""Reader of a stack's log files."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

_PAUSE_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """Read the last lines of a file; none when it does not exist yet."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def follow(paths: Mapping[str, Path], pause: Callable[[], None] | None = None) -> Iterator[tuple[str, str]]:
    """Yield name and line of each line that is added to the files from now on, for ever.

    A rotated file is read to its end, then its successor from the beginning.

    Args:
        paths: files by name; they need not exist yet.
        pause: called when there is no new line; None = a short sleep.
    """
    wait = pause or (lambda: time.sleep(_PAUSE_S))
    followed = [_Followed(name, path) for name, path in paths.items()]
    try:
        while True:
            quiet = True
            for each in followed:
                for line in each.new_lines():
                    quiet = False
                    yield each.name, line
                quiet = not each.reopen_if_replaced() and quiet
            if quiet:
                wait()
    finally:
        for each in followed:
            each.close()


class _Followed:
    """One growing file."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._file = self._open() if path.exists() else None
        if self._file:
            self._file.seek(0, os.SEEK_END)
        self._unfinished = ""

    def _open(self) -> TextIO:
        return self._path.open(encoding="utf-8", errors="replace")

    def new_lines(self) -> Iterator[str]:
        """Complete lines since the last call; the start of an incomplete one is kept for later."""
        while self._file and (chunk := self._file.readline()):
            self._unfinished += chunk
            if self._unfinished.endswith("\n"):
                yield self._unfinished.rstrip("\n")
                self._unfinished = ""

    def reopen_if_replaced(self) -> bool:
        """Switch to the file that is now at the path, if it is another one."""
        try:
            current = self._path.stat().st_ino
        except FileNotFoundError:  # in the middle of a rotation, or not written yet
            return False
        if self._file and os.fstat(self._file.fileno()).st_ino == current:
            return False
        self.close()
        self._file = self._open()
        return True

    def close(self) -> None:
        if self._file:
            self._file.close()
