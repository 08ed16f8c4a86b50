"""Files that are written as a whole."""

import os
from pathlib import Path


def replace_file(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file atomically: an interruption leaves the old or the new text.

    Args:
        path: the file.
        text: its new content.
        mode: permissions, from the first byte on; the process's umask takes some away.

    Raises:
        OSError: the file cannot be written.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    # A file of this name that appears meanwhile is another's: O_EXCL refuses it, and a link, too.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Before the change of names: a power cut must not leave an empty key.
        os.fsync(descriptor)
    fresh.replace(path)
