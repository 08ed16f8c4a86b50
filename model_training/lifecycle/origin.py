"""Commit and branch of the code, as defaults of the programs that train."""

import shutil
import subprocess
from typing import Final

from gourmetgram.settings import PROJECT_ROOT

UNKNOWN: Final = "unknown"


def current_commit() -> str:
    """First nine characters of the checkout's commit; `unknown` outside of a checkout."""
    return _git("rev-parse", "--short=9", "HEAD") or UNKNOWN


def current_branch() -> str:
    """Name of the checkout's branch; `main` outside of a checkout."""
    return _git("rev-parse", "--abbrev-ref", "HEAD") or "main"


def _git(*arguments: str) -> str:
    program = shutil.which("git")
    if program is None:
        return ""
    command = [program, "-C", str(PROJECT_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - fixed words
