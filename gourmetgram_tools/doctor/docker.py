"""Checks of Docker, of Compose, and of the compose file."""

import re
from pathlib import Path
from typing import Final

from gourmetgram_tools.doctor.findings import Finding, ok, problem
from gourmetgram_tools.programs import ask

INSTALL: Final = "Run `bash scripts/setup.sh`, then log out and in again."
_OLDEST_COMPOSE: Final = (2, 24)
"""Older versions do not know all keys of the compose file: `content` of a config came with 2.23.1."""


def check_engine() -> Finding:
    """Check that Docker is installed and runs, and that this user may use it."""
    answer = ask("docker", "version", "--format", "{{.Server.Version}}")
    if answer is None:
        return problem("Docker", "The command `docker` is not installed.", INSTALL)
    if answer.succeeded:
        return ok("Docker", f"Docker Engine {answer.output} answers.")
    if "permission denied" in answer.error.lower():
        return problem(
            "Docker",
            "Docker runs, but this user may not talk to it.",
            "Run `sudo usermod -aG docker $USER`, then log out and in again.",
        )
    return problem(
        "Docker",
        f"Docker does not answer: {answer.last_line}",
        "Start it with `sudo systemctl start docker`; `journalctl -u docker` tells why it stopped.",
    )


def check_compose() -> Finding:
    """Check that Compose is a plugin of Docker, and new enough."""
    answer = ask("docker", "compose", "version", "--short")
    if answer is None or not answer.succeeded:
        return problem(
            "Compose",
            "The command `docker compose` does not work (the older `docker-compose` is another program).",
            INSTALL,
        )
    numbers = re.match(r"v?(\d+)\.(\d+)", answer.output)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if version < _OLDEST_COMPOSE:
        return problem("Compose", f"Docker Compose {answer.output} is too old.", INSTALL)
    return ok("Compose", f"Docker Compose {answer.output}.")


def check_compose_file(file: Path) -> Finding:
    """Check that Compose accepts the compose file together with the .env."""
    answer = ask("docker", "compose", "-f", str(file), "config", "--quiet")
    if answer is not None and answer.succeeded:
        return ok("Compose file", f"{file.name} is understood.")
    reason = "Docker is missing" if answer is None else answer.last_line
    return problem(
        "Compose file",
        f"Compose cannot use {file}: {reason}",
        "Undo local changes with `git checkout docker/docker-compose.yaml`, and look at docker/.env for broken lines.",
    )


def running_containers() -> dict[int, str]:
    """Find the container that publishes each port; empty when Docker does not answer."""
    answer = ask("docker", "ps", "--format", "{{.Names}}\t{{.Ports}}")
    if answer is None or not answer.succeeded:
        return {}
    return published_by(answer.output)


def published_by(listing: str) -> dict[int, str]:
    """Read lines of `docker ps`: `name<TAB>0.0.0.0:8000->8000/tcp, ...` with ranges like `9000-9001`."""
    holders: dict[int, str] = {}
    for line in listing.splitlines():
        name, _, ports = line.partition("\t")
        for first, last in re.findall(r":(\d+)(?:-(\d+))?->", ports):
            for number in range(int(first), int(last or first) + 1):
                holders[number] = name
    return holders
