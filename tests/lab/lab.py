"""The Compose lab of this machine: its commands, containers and passwords."""

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from gourmetgram_tools.compose.settings import ComposeSettings, variables_of
from tests.lab.commands import Ended, check, run
from tests.lab.expectations import NotSeenError, expect, until
from tests.lab.places import CHECKOUT, COMPOSE_FILE
from tests.lab.standins.catalogue import NOT_REHEARSED, repository

PROJECT: Final = "gourmetgram-rehearsal"
"""Compose project, with volumes of its own."""
_COMPOSE: Final = ("docker", "compose", "--ansi", "never", "--progress", "quiet", "-f", str(COMPOSE_FILE))
_ENVIRONMENT: Final = {"COMPOSE_PROJECT_NAME": PROJECT}


class Lab:
    """Commands and sights of a student.

    Attributes:
        notes: findings of a step for later steps, e.g. the id of the viral image.
        rounds: number of starts of everything at once, in the stage `rounds`.
    """

    def __init__(self, rounds: int = 10) -> None:
        self.rounds = rounds
        self.notes: dict[str, str] = {}

    @cached_property
    def services(self) -> dict[str, dict[str, Any]]:
        """Every service of the compose file as Compose reads it, with every profile.

        Raises:
            RehearsalError: the file is not valid.
        """
        text = check(*_COMPOSE, "--profile", "*", "config", "--format", "json", environment=_ENVIRONMENT)
        found: dict[str, dict[str, Any]] = json.loads(text)["services"]
        return found

    @property
    def settings(self) -> ComposeSettings:
        """Passwords of the lab: docker/.env of the copy, else the published ones."""
        return ComposeSettings.load(variables_of(CHECKOUT / "docker" / ".env"))

    def login(self) -> dict[str, str]:
        """Variables with the lab's passwords, for commands that would read the working tree's docker/.env."""
        names = ("postgres_user", "postgres_password", "postgres_db", "minio_root_user", "minio_root_password")
        return {name.upper(): str(getattr(self.settings, name)) for name in names}

    def has_image(self, service: str) -> bool:
        """Tell if a service can be rehearsed: its image can be built from packages, or is here."""
        image = self.services[service].get("image", "")
        return repository(image) not in NOT_REHEARSED or run("docker", "image", "inspect", image).code == 0

    def default_services(self) -> list[str]:
        """Services that a plain `up -d` starts, as far as they can be rehearsed."""
        return [name for name, service in self.services.items() if not service.get("profiles") and self.has_image(name)]

    def compose(self, arguments: str, timeout: float = 300, environment: Mapping[str, str] | None = None) -> Ended:
        """Run `docker compose …`; services without an image are left out.

        Args:
            arguments: as typed after `DC`.
            timeout: seconds.
            environment: variables of the shell.
        """
        words = [word for word in shlex.split(arguments) if word not in self.services or self.has_image(word)]
        return run(*_COMPOSE, *words, timeout=timeout, environment={**_ENVIRONMENT, **(environment or {})})

    def do(self, arguments: str, timeout: float = 300) -> str:
        """Run `docker compose …`, which must succeed; return its output.

        Raises:
            NotSeenError: the command failed.
        """
        return self.compose(arguments, timeout).must_succeed().output

    def container(self, service: str) -> str:
        """Name of a service's container."""
        return str(self.services[service]["container_name"])

    def inspect(self, service: str) -> dict[str, Any]:
        """Description of a service's container by Docker.

        Raises:
            NotSeenError: there is no such container.
        """
        found: list[dict[str, Any]] = json.loads(
            run("docker", "inspect", self.container(service)).must_succeed().stdout
        )
        return found[0]

    def state(self, service: str) -> str:
        """State of a container: `healthy`, `running` (no health check), `unhealthy`, `exited 0`, `absent` …"""
        try:
            state = self.inspect(service)["State"]
        except NotSeenError:
            return "absent"
        if state["Status"] == "running":
            return str(state.get("Health", {}).get("Status", "running"))
        return f"{state['Status']} {state['ExitCode']}"

    def wait_healthy(self, services: Sequence[str], deadline_s: float = 180) -> str:
        """Wait until every service is healthy, or running when it has no health check.

        Raises:
            NotSeenError: a service is late.
        """
        good = {name: "healthy" if self.services[name].get("healthcheck") else "running" for name in services}
        return self._wait_states({name: state for name, state in good.items() if self.has_image(name)}, deadline_s)

    def wait_done(self, service: str, deadline_s: float = 300) -> str:
        """Wait until a one-shot service has ended with code 0.

        Raises:
            NotSeenError: the service failed or does not end.
        """
        return self._wait_states({service: "exited 0"}, deadline_s)

    def _wait_states(self, wanted: Mapping[str, str], deadline_s: float) -> str:
        def probe() -> str:
            states = {name: self.state(name) for name in wanted}
            expect(states == wanted, f"{ {name: state for name, state in states.items() if state != wanted[name]} }")
            return ", ".join(f"{name} {state}" for name, state in states.items())

        return until(probe, deadline_s)

    def logs(self, service: str) -> str:
        """Whole log of a service's container."""
        return run("docker", "logs", self.container(service)).output

    def wait_log(self, service: str, pieces: Sequence[str], deadline_s: float = 60) -> str:
        """Wait until each piece stands in a line of a service's log; return those lines.

        Raises:
            NotSeenError: a piece is late.
        """

        def probe() -> str:
            lines = self.logs(service).splitlines()
            found = {piece: next((line for line in lines if piece in line), None) for piece in pieces}
            missing = [piece for piece, line in found.items() if line is None]
            expect(not missing, f"no line with {missing} in the log of {service}; its last: {lines[-3:]}")
            return "\n".join(line.strip() for line in found.values() if line)

        return until(probe, deadline_s)
