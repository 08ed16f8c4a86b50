"""Reading the log files of a stack."""

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

_PAUSE_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file; none when it does not exist yet."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def follow(paths: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield name and line of everything that is added to the files from now on, for ever.

    A file that is rotated away is read to its end, then its successor from the beginning.
    """
    open_files = {name: _open_at_end(path) for name, path in paths.items()}
    partial = dict.fromkeys(paths, "")
    while True:
        quiet = True
        for name, path in paths.items():
            file = open_files[name]
            for chunk in iter(file.readline, "") if file else ():
                quiet = False
                partial[name] += chunk
                if partial[name].endswith("\n"):
                    yield name, partial[name].rstrip("\n")
                    partial[name] = ""
            if _was_replaced(file, path):
                if file:
                    file.close()
                open_files[name] = path.open(encoding="utf-8", errors="replace")
                quiet = False
        if quiet:
            time.sleep(_PAUSE_S)


def _open_at_end(path: Path) -> TextIO | None:
    if not path.exists():
        return None
    file = path.open(encoding="utf-8", errors="replace")
    file.seek(0, 2)
    return file


def _was_replaced(file: TextIO | None, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    if file is None:
        return True
    return os.fstat(file.fileno()).st_ino != now.st_ino
