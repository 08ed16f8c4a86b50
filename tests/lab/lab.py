"""The Compose lab of this machine: its commands, containers and published ports."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dotenv import dotenv_values

from tests.lab import shell, waiting
from tests.lab.errors import NotSeenError, RehearsalError, expect
from tests.lab.places import CHECKOUT, COMPOSE_FILE
from tests.lab.shell import Answer
from tests.lab.standins.catalogue import NOT_REHEARSED, repository

PROJECT: Final = "gourmetgram-rehearsal"
"""Compose project: its volumes are its own, whatever a lab on this machine keeps."""


class Lab:
    """What a student types and looks at.

    Attributes:
        notes: what a step found for later ones, e.g. the id of the image that went viral.
        rounds: how often everything is started at once, where a stage does that.
    """

    def __init__(self, rounds: int = 10) -> None:
        self.rounds = rounds
        self.notes: dict[str, str] = {}
        self._config: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The compose file as Compose understands it, with every profile.

        Raises:
            RehearsalError: it is not valid.
        """
        if self._config is None:
            text = shell.check([*_COMPOSE, "--profile", "*", "config", "--format", "json"], environment=_ENVIRONMENT)
            self._config = json.loads(text[text.index("{") :])
        return self._config

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """Every service of the file, by name."""
        found: dict[str, dict[str, Any]] = self.config["services"]
        return found

    def has_image(self, service: str) -> bool:
        """Whether a service can be rehearsed: its image can be built from packages, or is here."""
        image = self.services[service].get("image", "")
        return repository(image) not in NOT_REHEARSED or shell.run(["docker", "image", "inspect", image]).code == 0

    def default_services(self) -> list[str]:
        """What a plain `up -d` starts, as far as it can be rehearsed."""
        return [name for name, service in self.services.items() if not service.get("profiles") and self.has_image(name)]

    def compose(self, arguments: str, timeout: float = 300, environment: Mapping[str, str] | None = None) -> Answer:
        """Run `docker compose …` of the lab; services without an image are left out.

        Args:
            arguments: as typed after `DC`.
            timeout: seconds.
            environment: variables of the shell that types it.
        """
        words = [word for word in shlex.split(arguments) if word not in self.services or self.has_image(word)]
        return shell.run([*_COMPOSE, *words], timeout=timeout, environment={**_ENVIRONMENT, **(environment or {})})

    def do(self, arguments: str, timeout: float = 300) -> str:
        """Run `docker compose …`, which must succeed; returns what it wrote.

        Raises:
            NotSeenError: it failed.
        """
        answer = self.compose(arguments, timeout)
        expect(answer.code == 0, f"`DC {arguments}` ended with code {answer.code}:\n{answer.tail}")
        return answer.output

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker knows of a container.

        Raises:
            NotSeenError: there is no such container.
        """
        answer = shell.run(["docker", "inspect", container])
        expect(answer.code == 0, f"no container {container}")
        found: list[dict[str, Any]] = json.loads(answer.output)
        return found[0]

    def state(self, service: str) -> str:
        """`healthy`, `running` (no health check), `starting`, `unhealthy`, `exited 0` … of a service's container."""
        try:
            state = self.inspect(self.container(service))["State"]
        except NotSeenError:
            return "absent"
        if state["Status"] == "running":
            return str(state.get("Health", {}).get("Status", "running"))
        return f"{state['Status']} {state['ExitCode']}"

    def container(self, service: str) -> str:
        """Name of a service's container."""
        return str(self.services[service]["container_name"])

    def wait_healthy(self, services: Sequence[str], deadline_s: float = 180) -> str:
        """Wait until every service is healthy, or running when it has no health check.

        Raises:
            NotSeenError: not all are in time.
        """
        wanted = [name for name in services if self.has_image(name)]

        def look() -> str:
            states = {name: self.state(name) for name in wanted}
            bad = {name: state for name, state in states.items() if state != self._good(name)}
            expect(not bad, "; ".join(f"{name} is {state}" for name, state in bad.items()))
            return ", ".join(f"{name} {state}" for name, state in states.items())

        return waiting.until(look, deadline_s)

    def _good(self, service: str) -> str:
        return "healthy" if self.services[service].get("healthcheck") else "running"

    def wait_done(self, service: str, deadline_s: float = 300) -> str:
        """Wait until a one-shot service has ended with code 0.

        Raises:
            NotSeenError: it failed or does not end.
        """

        def look() -> str:
            state = self.state(service)
            expect(state == "exited 0", f"{service} is {state}")
            return f"{service} {state}"

        return waiting.until(look, deadline_s)

    def logs(self, service: str) -> str:
        """Everything that a service's container has written."""
        return shell.run(["docker", "logs", self.container(service)]).output

    def wait_log(self, service: str, pieces: Sequence[str], deadline_s: float = 60) -> str:
        """Wait until each piece stands in a line of a service's log; returns those lines.

        Raises:
            NotSeenError: one does not come in time.
        """

        def look() -> str:
            lines = self.logs(service).splitlines()
            found = {piece: next((line for line in lines if piece in line), None) for piece in pieces}
            missing = [piece for piece, line in found.items() if line is None]
            expect(not missing, f"no line with {missing} in the log of {service}; its last: {lines[-3:]}")
            return "\n".join(line.strip() for line in found.values() if line)

        return waiting.until(look, deadline_s)

    def variable(self, name: str) -> str:
        """A variable of docker/.env, or the default of .env.example."""
        for file in (CHECKOUT / "docker" / ".env", CHECKOUT / "docker" / ".env.example"):
            value = dotenv_values(file).get(name) if file.exists() else None
            if value:
                return value
        raise RehearsalError(f"Neither docker/.env nor docker/.env.example names {name}.")


_COMPOSE: Final = ("docker", "compose", "--ansi", "never", "--progress", "quiet", "-f", str(COMPOSE_FILE))
_ENVIRONMENT: Final = {"COMPOSE_PROJECT_NAME": PROJECT}
