"""`docker compose` on the lab's file."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram.waiting import wait_for
from gourmetgram_tools.programs import ask

COMPOSE_FILE: Final = PROJECT_ROOT / "docker" / "docker-compose.yaml"

_POLL_S: Final = 0.5
_STATE: Final = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
_ASK_HEALTH: Final = "import urllib.request as r; print(r.urlopen('http://localhost:{}/health').read().decode())"


def compose(*arguments: str, variables: Mapping[str, str] | None = None, quiet: bool = False) -> str:
    """Run `docker compose` on the lab, or on the files that COMPOSE_FILE names.

    Args:
        arguments: words after `docker compose`.
        variables: variables that override docker/.env.
        quiet: capture the output instead of showing it.

    Returns:
        standard output when `quiet`, else an empty text.

    Raises:
        PermanentError: Docker is not installed.
        TransientError: the command failed.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise PermanentError("Docker is not installed: `gourmetgram doctor` says what to do.")
    files = () if "COMPOSE_FILE" in process_environment() else ("-f", str(COMPOSE_FILE))
    done = subprocess.run(  # noqa: S603 - callers pass fixed commands
        [docker, "compose", *files, *arguments],
        env={**process_environment(), **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=quiet,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr or "").strip() or "its output is above"
        raise TransientError(f"`docker compose {' '.join(arguments)}` ended with code {done.returncode}: {reason}")
    return done.stdout or ""


def wait_healthy(services: Sequence[str], deadline_s: float) -> None:
    """Wait until the services' containers run and are healthy.

    Raises:
        TransientError: a service is not healthy in time.
    """

    def late(unready: list[str]) -> TransientError:
        return TransientError(
            f"Not healthy within {deadline_s:g} s: {', '.join(unready)}. `docker compose logs {unready[0]}` may "
            "tell the reason."
        )

    wait_for(
        lambda: [name for name in services if not _is_healthy(name)],
        deadline_s=deadline_s,
        every_s=_POLL_S,
        late=late,
        done=lambda unready: not unready,
    )


def is_running(service: str) -> bool:
    """True if a container of the service runs."""
    return bool(compose("ps", "--quiet", service, quiet=True).strip())


def health_of(service: str, port: int) -> dict[str, Any]:
    """Answer of `/health` inside a container, for ports that are not published.

    Raises:
        TransientError: the service does not answer.
    """
    answer = compose("exec", "-T", service, "python", "-c", _ASK_HEALTH.format(port), quiet=True)
    document: dict[str, Any] = json.loads(answer)
    return document


def _is_healthy(service: str) -> bool:
    container = compose("ps", "--quiet", service, quiet=True).strip()
    if not container:
        return False
    state = ask("docker", "inspect", "-f", _STATE, container)
    return state is not None and state.output.split() in (["running", "healthy"], ["running"])
