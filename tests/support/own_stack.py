"""A stack of a test module's own, for tests that stop servers or need all services."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gourmetgram_tools.cli.target import platform_of
from gourmetgram_tools.inspection.audit import AuditResult, audit
from gourmetgram_tools.local.stack import Stack


def assert_no_difference(stack: Stack) -> AuditResult:
    """Audit a stack whose services run; no check may find a difference."""
    result = audit(platform_of(stack), deadline_s=120.0)
    assert [check for check in result.checks if not check.ok] == []
    return result


@contextmanager
def own_stack(name: str, home: Path | None = None) -> Iterator[Stack]:
    """An empty stack that nothing runs in yet; it is wiped in the end, also when it did not come up.

    Another run of this checkout's tests waits until this one is through with it. Of a run that was killed, the servers
    are stopped and the files deleted.

    Args:
        name: its name.
        home: folder of the stack's folder; None = that of all stacks.
    """
    stack = Stack(name, home)
    use_file = stack.folder.with_name(f"{name}.in-use")
    use_file.parent.mkdir(parents=True, exist_ok=True)
    with use_file.open("w") as use:
        fcntl.flock(use, fcntl.LOCK_EX)
        stack.wipe()
        try:
            yield stack
        finally:
            stack.wipe()
