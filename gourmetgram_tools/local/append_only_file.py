"""Start Valkey once its append-only file can be read: `python append_only_file.py FOLDER PROGRAM ...`.

After a rewrite, Valkey 9.1 opens its new file without O_APPEND. On a full disk, it cuts off the part of a write that
fitted, but its position stays behind the cut. The next write leaves a hole of zero bytes, and the next start ends
with "Bad file format". All before the hole is whole, so the file is cut off there. This Redis is then one of some
minutes ago. Its offsets are as old as its counts: the consumer reads the rest again.

`valkey-check-aof` cannot do this: version 9.1 does not know the first file's own new format.
"""

import mmap
import os
import re
import sys
from pathlib import Path
from typing import Final

_HOLE: Final = b"\r\n\0"
"""Bytes without which there is no hole. Values may contain them, too."""
_COMMAND: Final = re.compile(rb"\*(\d+)\r\n")
_ARGUMENT: Final = re.compile(rb"\$(\d+)\r\n")


def cut_at_hole(folder: Path) -> int:
    """Cut off the append-only files of a data folder at the first hole.

    Args:
        folder: data folder of Valkey, which does not run.

    Returns:
        Number of bytes that were cut off; 0 without a hole. A write that a kill has cut short is left to the server.
    """
    files = _increments(folder / "appendonlydir")
    for number, file in enumerate(files):
        size = file.stat().st_size
        whole = _hole_in(file, size)
        if whole < size:
            # Nothing after a hole may count: its offsets are later than the counts that are lost. The file with the
            # hole is the last one to be cut, so that a kill on the way changes nothing.
            later = files[number + 1 :]
            lost = size - whole + sum(each.stat().st_size for each in later)
            for each in later:
                os.truncate(each, 0)
            os.truncate(file, whole)
            return lost
    return 0


def _increments(folder: Path) -> list[Path]:
    """Files with commands that the server reads, in their order."""
    manifest = folder / "appendonly.aof.manifest"
    lines = manifest.read_text(encoding="utf-8").splitlines() if manifest.exists() else []
    words = [line.split() for line in lines]
    return [folder / word[1] for word in words if word[-1] == "i" and (folder / word[1]).exists()]


def _hole_in(file: Path, size: int) -> int:
    """Place of the first hole, else the file's size, bytes."""
    if not size:
        return 0
    with file.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:1] != b"\0" and content.find(_HOLE) < 0:
            return size
        whole = _whole_commands(content)
        return whole if content[whole : whole + 1] == b"\0" else size


def _whole_commands(content: mmap.mmap) -> int:
    """Length of the commands up to the first byte that begins none, bytes."""
    position = 0
    while command := _COMMAND.match(content, position):
        end = command.end()
        for _ in range(int(command[1])):
            argument = _ARGUMENT.match(content, end)
            if argument is None:
                return position
            end = argument.end() + int(argument[1]) + len(b"\r\n")
        if end > len(content):
            return position
        position = end
    return position


def main() -> None:
    """Cut off the file, then become the program."""
    folder, *program = sys.argv[1:]
    if lost := cut_at_hole(Path(folder)):
        sys.stdout.write(f"The append-only file had a hole, as a full disk leaves it: {lost} bytes were cut off.\n")
        sys.stdout.flush()
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
