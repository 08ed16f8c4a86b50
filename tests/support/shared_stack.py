"""The test stack: servers only, shared by all test runs of this checkout that go on at the same time.

The first run empties it and brings it up, the last one stops it. Tests keep apart by their own databases, topics,
buckets and keys, never by having the servers for themselves.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gourmetgram_tools.local.stack import Stack


@contextmanager
def shared_stack(stack: Stack, use_file: Path, keep: bool, wipe_after: bool) -> Iterator[Stack]:
    """Use the stack.

    Args:
        stack: the test stack.
        use_file: locked by every run that uses the stack; the system unlocks it when a run dies.
        keep: leave a running stack, and its data, as found: saves some seconds a run while developing.
        wipe_after: delete its files in the end, which otherwise can be looked at.
    """
    use_file.parent.mkdir(parents=True, exist_ok=True)
    with use_file.open("w") as use:
        if try_exclusive(use.fileno()) and not (keep and _servers_healthy(stack)):
            stack.wipe()
        # Waits while another run is between its exclusive lock and this line.
        fcntl.flock(use, fcntl.LOCK_SH)
        stack.up(services=())
        try:
            yield stack
        finally:
            if not keep and try_exclusive(use.fileno()):
                stack.wipe() if wipe_after else stack.down()


def try_exclusive(file_number: int) -> bool:
    """Lock an open file for oneself alone, if nobody else has it; tells whether."""
    try:
        fcntl.flock(file_number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _servers_healthy(stack: Stack) -> bool:
    return all(part.healthy for part in stack.status()[:4])
