"""The subject of the rehearsal: a copy of the files that git hands out, as a student clones them."""

import os
import shutil

from gourmetgram.settings import PROJECT_ROOT
from tests.lab.commands import check
from tests.lab.expectations import RehearsalError
from tests.lab.places import CHECKOUT, COMPOSE_FILE

# Account `cc` of the lab's VM, and user of the Jupyter image.
_STUDENT = "1000:1000"


def refresh() -> str:
    """Make the copy anew from the files that git tracks or would track; return the revision.

    With a copy, a file that is missing in git is missing here too. Settings and notebooks' files stay out of the
    working tree.

    Raises:
        RehearsalError: this is no git checkout.
    """
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    for name in check("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        # A deleted file is listed until the deletion is committed.
        if name and (PROJECT_ROOT / name).exists():
            (CHECKOUT / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, CHECKOUT / name, follow_symlinks=False)
    if not COMPOSE_FILE.exists():
        raise RehearsalError("The checkout has no docker/docker-compose.yaml: there is nothing to rehearse.")
    if os.geteuid() == 0:
        check("chown", "-R", _STUDENT, CHECKOUT)
    return check("git", "describe", "--always", "--dirty")


def write_setting(name: str, value: str | None) -> None:
    """Set a variable in the copy's docker/.env, or remove it (None)."""
    file = CHECKOUT / "docker" / ".env"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if not line.startswith(f"{name}=")]
    added = [] if value is None else [f"{name}={value}"]
    file.write_text("".join(f"{line}\n" for line in (*kept, *added)), encoding="utf-8")
