"""Token of the lab's running Jupyter."""

import re
import shutil
import subprocess
from typing import Final

_TIMEOUT_S: Final = 20.0
_TOKEN: Final = re.compile(r"[?&]token=([^\s&]+)")


def running_token() -> str:
    """Read the token in the container; empty without Docker or a running Jupyter."""
    docker = shutil.which("docker")
    if docker is None:
        return ""
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            [docker, "exec", "jupyter", "jupyter", "server", "list"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return token_in(answer.stdout) if answer.returncode == 0 else ""


def token_in(server_list: str) -> str:
    """Find the first token in the output of `jupyter server list`; empty when there is none."""
    found = _TOKEN.search(server_list)
    return found[1] if found else ""
