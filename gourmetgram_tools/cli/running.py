"""Check that the platform of a command is up, before anything else, so that the error comes at once."""

from typing import Final
from urllib.parse import urlsplit

import typer

from gourmetgram.errors import PlatformError, TransientError
from gourmetgram_tools.cli.console import errors
from gourmetgram_tools.cli.target import Target, environment, local_stack
from gourmetgram_tools.compose.commands import COMPOSE_FILE
from gourmetgram_tools.compose.ports import PUBLISHED
from gourmetgram_tools.doctor.docker import running_containers
from gourmetgram_tools.local.blueprint import SERVERS
from gourmetgram_tools.local.mlflow import MLFLOW
from gourmetgram_tools.local.ports import listens
from gourmetgram_tools.local.stack import Stack

API: Final = "api_v2"

_ADDRESSES: Final = {
    "postgres": "DATABASE_URL",
    "redis": "REDIS_HOST",
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "minio": "S3_ENDPOINT_URL",
    API: "GENERATOR_API_URL",
    MLFLOW: "MLFLOW_TRACKING_URI",
}
_LAB_NAMES: Final = {"kafka": "redpanda"}


def running_environment(
    context: typer.Context, stack: str | None, target: Target, parts: tuple[str, ...] = SERVERS
) -> dict[str, str]:
    """Check the needed parts, and return the variables with which a data generator reaches the platform.

    Args:
        context: context of the command.
        stack: the option `--stack`.
        target: the option `--target`.
        parts: parts that the command needs: servers, `API`, and `MLFLOW`.

    Raises:
        StackError: there is no such stack, or it is not up.
        TransientError: a part does not listen; the text names it and the command that starts it.
        SettingsError: docker/.env has a value that is not allowed.
    """
    chosen = local_stack(context, stack, target) if target is Target.LOCAL else None
    if chosen:
        chosen.require_up()
    variables = environment(context, stack, target)
    missing = [part for part in parts if not listens(*_address(variables, part))]
    if missing and chosen:
        start = chosen.command("up --with mlflow" if MLFLOW in missing else "up")
        raise TransientError(f"The stack '{chosen.name}' runs without {' and '.join(missing)}: run {start} first.")
    if missing:
        names = [_LAB_NAMES.get(part, part) for part in missing]
        raise TransientError(
            f"The Compose lab is not up, or without {' and '.join(names)}: "
            f"run `docker compose -f {COMPOSE_FILE} up -d {' '.join(names)}` first."
        )
    return variables


def _address(variables: dict[str, str], part: str) -> tuple[str, int]:
    value = variables[_ADDRESSES[part]]
    if part == "redis":
        return value, int(variables["REDIS_PORT"])
    parts = urlsplit(value if "://" in value else f"tcp://{value}")
    return parts.hostname or "localhost", parts.port or 80


def note_unless_up(stack: Stack) -> None:
    """Note on standard error that a stack is not up, for commands that also work then."""
    try:
        stack.require_up()
    except PlatformError as error:
        _note(str(error))


def note_unless_lab_runs() -> None:
    """Note on standard error that the Compose lab is not up."""
    if not lab_runs():
        _note(f"The Compose lab is not up: run `docker compose -f {COMPOSE_FILE} up -d` first.")


def lab_runs() -> bool:
    """Return whether any container of the Compose lab runs."""
    containers = set(running_containers().values())
    return any(containers.intersection(port.containers) for port in PUBLISHED)


def _note(text: str) -> None:
    errors.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
