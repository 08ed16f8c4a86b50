"""The checkout that is rehearsed: a copy of what git would hand out, as a student clones it."""

import os
import shutil

from gourmetgram.settings import PROJECT_ROOT
from tests.lab import shell
from tests.lab.errors import RehearsalError
from tests.lab.places import CHECKOUT

# The lab's account `cc` on the VM, and the user of the Jupyter image.
_STUDENT = 1000


def refresh() -> str:
    """Make the copy anew from the files that git tracks or would track; returns the revision for the report.

    A copy has three virtues: a file that nobody added to git is missed here and not in the lesson, settings may be
    written to its docker/.env, and what notebooks write does not end up in the working tree.

    Raises:
        RehearsalError: this is no git checkout.
    """
    listing = shell.check(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"])
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    for name in filter(None, listing.split("\0")):
        source = PROJECT_ROOT / name
        if not source.exists():  # deleted, and the deletion is not committed yet
            continue
        target = CHECKOUT / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    if not (CHECKOUT / "docker" / "docker-compose.yaml").exists():
        raise RehearsalError("The checkout has no docker/docker-compose.yaml: there is nothing to rehearse.")
    if os.geteuid() == 0:
        shell.check(["chown", "-R", f"{_STUDENT}:{_STUDENT}", CHECKOUT])
    return shell.check(["git", "describe", "--always", "--dirty"]).strip()


def write_setting(name: str, value: str | None) -> None:
    """Set a variable in the copy's docker/.env, or take it out (None), as a student does with an editor."""
    file = CHECKOUT / "docker" / ".env"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if not line.startswith(f"{name}=")]
    if value is not None:
        kept.append(f"{name}={value}")
    file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
