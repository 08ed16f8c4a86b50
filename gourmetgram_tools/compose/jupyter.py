"""Token of the lab's running Jupyter."""

import re
from typing import Final

from gourmetgram_tools.programs import ask

_TIMEOUT_S: Final = 20.0
_TOKEN: Final = re.compile(r"[?&]token=([^\s&]+)")


def running_token() -> str:
    """Read the token in the container; empty without Docker or a running Jupyter."""
    answer = ask("docker", "exec", "jupyter", "jupyter", "server", "list", timeout_s=_TIMEOUT_S)
    return token_in(answer.output) if answer is not None and answer.succeeded else ""


def token_in(server_list: str) -> str:
    """Find the first token in the output of `jupyter server list`; empty when there is none."""
    found = _TOKEN.search(server_list)
    return found[1] if found else ""
