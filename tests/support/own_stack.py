"""A stack of a test module's own, for tests that stop servers or need all services."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gourmetgram.local.stack import Stack


@contextmanager
def own_stack(name: str, home: Path | None = None) -> Iterator[Stack]:
    """An empty stack that nothing runs in yet; it is wiped in the end, also when it did not come up.

    Args:
        name: its name.
        home: folder of the stack's folder; None = the checkout's, where what an earlier test run left is deleted.
    """
    stack = Stack(name, home)
    stack.wipe()
    try:
        yield stack
    finally:
        stack.wipe()
