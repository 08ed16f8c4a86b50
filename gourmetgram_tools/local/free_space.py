"""Start a program only once its file system has some free space: `python free_space.py FOLDER PROGRAM ...`.

Apache Kafka 4.1 recovers its logs at each start after a crash. On a full disk the recovery of its metadata ends with an
empty log. The next start then sets all topics aside as foreign ("stray"), with every record.
"""

import os
import shutil
import sys
import time
from typing import Final

LEAST_BYTES: Final = 64 * 1024 * 1024
"""Free space that a recovery of Kafka's small logs needs, with a reserve, bytes."""

_LOOK_EVERY_S: Final = 1.0


def wait_for_space(folder: str) -> None:
    """Wait until the file system of a folder has `LEAST_BYTES` free; says so once on standard output."""
    told = False
    while shutil.disk_usage(folder).free < LEAST_BYTES:
        if not told:
            told = True
            sys.stdout.write(f"Waiting: less than {LEAST_BYTES // 2**20} MiB are free in {folder}. Free some space.\n")
            sys.stdout.flush()
        time.sleep(_LOOK_EVERY_S)


def main() -> None:
    """Wait, then become the program."""
    folder, *program = sys.argv[1:]
    wait_for_space(folder)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
