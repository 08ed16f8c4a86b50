"""Programs under a memory limit: a control group of their own, where root may make one; else a limit of their data."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gourmetgram.settings import PROJECT_ROOT

_GROUPS = Path("/sys/fs/cgroup")
DATA_LIMIT = "GOURMETGRAM_TEST_DATA_LIMIT"
"""Variable with the bytes of data that a program may take after its start, where there are no control groups."""


@dataclass(frozen=True)
class Limited:
    """A limit for programs.

    Attributes:
        group: folder of the control group; None = each program limits its own data (RLIMIT_DATA).
        limit_bytes: the limit.
    """

    group: Path | None
    limit_bytes: int

    def run(self, module: str, *arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULE` under the limit to its end, whatever its exit code."""
        command, variables = [sys.executable, "-m", module, *arguments], dict(environment)
        if self.group is None:
            # Arrow's own allocator reserves a gigabyte in advance, which would hide the limit.
            variables |= {DATA_LIMIT: str(self.limit_bytes), "ARROW_DEFAULT_MEMORY_POOL": "system"}
        else:
            # The shell enters the group, then becomes the program.
            enter = f'echo $$ > {self.group}/cgroup.procs && exec "$@"'
            command = ["sh", "-c", enter, "sh", *command]
        return subprocess.run(
            command, cwd=PROJECT_ROOT, env=variables, capture_output=True, text=True, timeout=240, check=False
        )


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[Limited]:
    """Limit programs to so many bytes.

    Args:
        limit_bytes: memory of all of them together in a control group; else the data of each.
    """
    folder = _make_group(limit_bytes)
    if folder is None:
        yield Limited(None, limit_bytes)
        return
    try:
        yield Limited(folder, limit_bytes)
    finally:
        folder.rmdir()


def _make_group(limit_bytes: int) -> Path | None:
    """Folder of a new control group, of either version; None = this user or this system cannot make one."""
    name = f"gourmetgram-test-{os.getpid()}"
    file = Path("/proc/self/cgroup")
    if not file.exists():
        return None
    own = dict(line.split(":", 2)[1:] for line in file.read_text().splitlines())
    for parent, limit in (
        (_GROUPS / "memory" / own.get("memory", "/").lstrip("/"), "memory.limit_in_bytes"),
        # Version 2 has processes in leaves only, so the new group stands beside this one, not below it.
        ((_GROUPS / own.get("", "/").lstrip("/")).parent, "memory.max"),
        (_GROUPS, "memory.max"),
    ):
        folder = parent / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            # Without the memory controller there is no such file, and none can be made.
            (folder / limit).write_text(str(limit_bytes))
            return folder
        except OSError:
            folder.rmdir()
    return None
