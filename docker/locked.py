"""Print packages of a lock file with their hashes: `python locked.py dev.txt setuptools`, or `… dev.txt resolved.json`.

A name that ends with .json is a report of `pip install --dry-run --report`; it stands for all packages in the report.
pip checks hashes only when every package of an installation has some, so an image installs exactly these lines.
Standard library only.
"""

import json
import re
import sys
from pathlib import Path

# A package with its version and marker, and its hashes in lines that begin with spaces.
_PACKAGE = re.compile(r"^([A-Za-z0-9][\w.-]*)==\S+[^\n]*\\\n(?:    --hash=\S+(?: \\)?\n)+", re.MULTILINE)


def canonical(name: str) -> str:
    """Name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str, names: list[str]) -> str:
    """Lines of a lock for some packages; a package with several versions keeps all, each with its marker.

    Raises:
        ValueError: a package is not in the lock, or has no hash there.
    """
    wanted = {canonical(name) for name in names}
    found = [(canonical(match[1]), match[0]) for match in _PACKAGE.finditer(lock)]
    missing = sorted(wanted - {name for name, _ in found})
    if missing:
        raise ValueError(f"The lock has no hashes for {', '.join(missing)}: see docs/decisions/dependencies.md.")
    return "".join(lines for name, lines in found if name in wanted)


def names_of(argument: str) -> list[str]:
    """The name itself, or the packages of a report."""
    if not argument.endswith(".json"):
        return [argument]
    report = json.loads(Path(argument).read_text(encoding="utf-8"))
    return [each["metadata"]["name"] for each in report["install"]]


if __name__ == "__main__":
    named = [name for argument in sys.argv[2:] for name in names_of(argument)]
    sys.stdout.write(locked(Path(sys.argv[1]).read_text(encoding="utf-8"), named))
