"""Probes from the health checks of the compose file."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from gourmetgram_tools.kubernetes.variables import for_shell

_ADDRESS: Final = re.compile(r"http://(?:localhost|127\.0\.0\.1):(\d+)(/[\w/]*)")
_MISSES: Final = 6
"""Probes without an answer, one after the other, after which a process counts as hung."""


def probes_of(check: Mapping[str, Any], alive: str) -> dict[str, Any]:
    """Probes of a container.

    - `readinessProbe`: the health check. Requests come only while the service is healthy.
    - `startupProbe`, `livenessProbe`: the address `alive`, when there is one. A process that does not answer there in
      time starts again. Another server's absence must not count, since a restart would not help. A database has none of
      them: it needs its time to repair itself after a crash.

    Args:
        check: `healthcheck` of the compose file.
        alive: path that answers while the process works, whatever other servers do; empty when there is none.
    """
    kind, *words = check["test"]
    action = _action(kind, words)
    times = {"periodSeconds": seconds(check["interval"]), "timeoutSeconds": seconds(check["timeout"])}
    ready = {"readinessProbe": {**action, **times, "failureThreshold": check["retries"]}}
    if not alive:
        return ready
    asked = {"httpGet": {**action["httpGet"], "path": alive}, **times}
    patience = math.ceil(seconds(check["start_period"]) / times["periodSeconds"]) + check["retries"]
    return {
        "startupProbe": {**asked, "failureThreshold": patience},
        **ready,
        "livenessProbe": {**asked, "failureThreshold": _MISSES},
    }


def seconds(duration: str) -> int:
    """Whole seconds of a duration as Compose writes it, such as `30s`."""
    return int(duration.removesuffix("s"))


def _action(kind: str, words: list[str]) -> dict[str, Any]:
    found = _ADDRESS.search(words[-1])
    if found:
        port = int(found[1])
        # Some servers refuse a host name that they do not know, and a probe's own is the pod's address.
        host = [{"name": "Host", "value": f"localhost:{port}"}]
        return {"httpGet": {"path": found[2], "port": port, "httpHeaders": host}}
    return {"exec": {"command": ["sh", "-c", words[0]] if kind == "CMD-SHELL" else for_shell(words)}}
