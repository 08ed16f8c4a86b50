"""Memory of a training run beside its limit: a container's own, as the kernel keeps it in a control group."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUP: Final = Path("/proc/self/cgroup")
# Version 1 writes the largest multiple of a page instead of "max".
_UNLIMITED_FROM: Final = 2**60


@dataclass(frozen=True)
class _Names:
    """Files of a control group."""

    limit: str
    highest: str
    kills: str


_VERSION_2: Final = _Names("memory.max", "memory.peak", "memory.events")
_VERSION_1: Final = _Names("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control")


@dataclass(frozen=True)
class MemoryGroup:
    """Control group with a memory limit; of a container, that of `docker run --memory`.

    Attributes:
        folder: its files.
        limit_bytes: the limit. A group that needs more has its largest process killed by the kernel.
    """

    folder: Path
    limit_bytes: int
    _names: _Names

    @classmethod
    def find(cls, groups: Path = _GROUPS, own: Path = _OWN_GROUP) -> "MemoryGroup | None":
        """The group of this process; None = no limit, or no control groups on this system.

        Args:
            groups: where the system keeps its control groups.
            own: the file that names those of this process.
        """
        if not own.exists():
            return None
        paths = dict(line.split(":", 2)[1:] for line in own.read_text(encoding="utf-8").splitlines())
        for root, controller, names in ((groups / "memory", "memory", _VERSION_1), (groups, "", _VERSION_2)):
            # A container sees its own group at the root.
            for folder in (root / paths.get(controller, "").lstrip("/"), root):
                limit = _number(folder / names.limit)
                if limit is not None and limit < _UNLIMITED_FROM:
                    return cls(folder, limit, names)
        return None

    @property
    def killed(self) -> int:
        """Number of processes of the group that the kernel has killed at the limit."""
        for line in (self.folder / self._names.kills).read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return 0

    @property
    def highest_bytes(self) -> int | None:
        """Highest use of memory so far; None = the kernel does not count it."""
        return _number(self.folder / self._names.highest)


def describe_limit(group: MemoryGroup | None) -> str:
    """A sentence about the limit, the highest use, and processes that were killed at the limit."""
    if group is None:
        return "No memory limit applies here: no process is killed at one."
    highest = group.highest_bytes
    used = f", highest use {highest / 1e6:,.0f} MB" if highest is not None else ""
    deaths = f"killed at the limit so far: {group.killed} (oom_kill in {group._names.kills}, signal 9, exit code 137)"
    return f"Memory limit {group.limit_bytes / 1e6:,.0f} MB{used}; {deaths}"


@dataclass
class MemoryCurve:
    """Memory in use while rows are read.

    Attributes:
        rows: numbers of rows so far.
        used_mb: memory in use at each of them, in MB.
        limit_mb: the limit in MB; None = there is none.
    """

    limit_mb: float | None = None
    rows: list[int] = field(default_factory=list)
    used_mb: list[float] = field(default_factory=list)

    def add(self, rows: int, used_mb: float) -> None:
        """Add a point."""
        self.rows.append(rows)
        self.used_mb.append(used_mb)

    @property
    def growth_mb(self) -> float:
        """Mean of the last third of the points minus mean of the first third, in MB; 0 below three points."""
        third = len(self.used_mb) // 3
        if not third:
            return 0.0
        return (sum(self.used_mb[-third:]) - sum(self.used_mb[:third])) / third

    def summary(self) -> Mapping[str, float | None]:
        """Highest use, growth and limit, in MB."""
        return {"highest_mb": max(self.used_mb, default=0.0), "growth_mb": self.growth_mb, "limit_mb": self.limit_mb}


def _number(file: Path) -> int | None:
    """Number in a file; None = no such file, or "max"."""
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8").strip()
    return int(text) if text.isdigit() else None
