"""Print what an extra of pyproject.toml installs, one requirement a line: `python dependencies.py pyproject.toml api`.

The images install packages before they copy any code, so that a change of code does not install them again; pip alone
can only install dependencies together with the package. Standard library only.
"""

import re
import sys
import tomllib
from pathlib import Path

_SELF = re.compile(r"gourmetgram\[([a-z,-]+)\]")


def requirements(project: dict, extras: list[str]) -> list[str]:
    """The package's own requirements and those of the extras, which may name each other."""
    found = list(project["dependencies"])
    seen: set[str] = set()
    waiting = list(extras)
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            match = _SELF.fullmatch(requirement)
            if match:
                waiting.extend(match[1].split(","))
            else:
                found.append(requirement)
    return sorted(set(found))


if __name__ == "__main__":
    described = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    sys.stdout.write("\n".join(requirements(described, sys.argv[2:])) + "\n")
