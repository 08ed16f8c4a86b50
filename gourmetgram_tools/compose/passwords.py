"""Passwords of the Compose lab in docker/.env: published ones are recognised, and replaced by generated ones."""

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gourmetgram.database.roles import RoleSettings
from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.files import replace_file
from gourmetgram.object_users import ObjectUserSettings
from gourmetgram.settings import process_environment
from gourmetgram_tools.compose.settings import ComposeSettings, variables_of
from gourmetgram_tools.programs import ask

PASSWORDS: Final = (
    "POSTGRES_PASSWORD",
    "MINIO_ROOT_PASSWORD",
    "AIRFLOW_ADMIN_PASSWORD",
    "NIMTABLE_PASSWORD",
    "NIMTABLE_DB_PASSWORD",
    "NIMTABLE_JWT_SECRET",
    "JUPYTER_TOKEN",
    *(name.upper() for name in (*RoleSettings.model_fields, *ObjectUserSettings.model_fields)),
)
"""Secrets that have a variable of docker/.env. Airflow's keys and the key that signs models are made in volumes."""

FORMER: Final[Mapping[str, str]] = {"NIMTABLE_JWT_SECRET": "nimtable-lab-jwt-secret"}
"""Defaults of earlier versions."""

_KEPT_BY_POSTGRES: Final = ("POSTGRES_PASSWORD", "NIMTABLE_DB_PASSWORD", "NIMTABLE_PASSWORD")
"""Passwords that PostgreSQL's volume stores at the first start, or Nimtable in it at the first login."""
_PROJECT: Final = "gourmetgram"


def is_published(name: str, value: str) -> bool:
    """Return whether everybody can know the value of a secret; an empty one is made anew at each start.

    Args:
        name: one of `PASSWORDS`.
        value: value in use.
    """
    default = ComposeSettings.model_fields[name.lower()].default
    return bool(value) and value in (default, FORMER.get(name))


def generate(docker_folder: Path) -> tuple[str, ...]:
    """Write a generated value for each published or empty password into .env, which only its owner may read.

    Other lines stay. Without a .env, it starts as a copy of .env.example.

    Args:
        docker_folder: folder of the compose file.

    Returns:
        Names of the generated passwords; none when all are own already.

    Raises:
        PermanentError: a volume keeps a published password.
        SettingsError: .env has a value that is not allowed.
        TransientError: Docker does not answer, so that the volumes are unknown.
    """
    file = docker_folder / ".env"
    text = (file if file.exists() else docker_folder / ".env.example").read_text(encoding="utf-8")
    variables = variables_of(file)
    lab = ComposeSettings.load(variables)
    values = {name: getattr(lab, name.lower()) for name in PASSWORDS}
    published = tuple(name for name, value in values.items() if not value or is_published(name, value))
    kept = [name for name in published if name in _KEPT_BY_POSTGRES]
    if kept:
        _refuse_volume({**variables, **process_environment()}.get("COMPOSE_PROJECT_NAME", _PROJECT), kept)
    # 128 bits in characters that an address and every shell take as they are.
    fresh = {name: secrets.token_hex(16) for name in published}
    replace_file(file, _with_values(text, {"LAB_PASSWORDS": "generated", **fresh}), mode=0o600)
    return published


def _refuse_volume(project: str, names: list[str]) -> None:
    labels = (f"label=com.docker.compose.project={project}", "label=com.docker.compose.volume=postgres_data")
    answer = ask("docker", "volume", "ls", "--quiet", *(word for label in labels for word in ("--filter", label)))
    # Without Docker, the machine has no volume.
    if answer is None:
        return
    if not answer.succeeded:
        raise TransientError(f"Docker does not say which volumes exist: {answer.last_line}. Start it, then try again.")
    if answer.output:
        raise PermanentError(
            f"The volume {answer.output} was made with the published {', '.join(names)}, and keeps them. "
            "`docker compose down -v` in the folder docker deletes the lab's volumes with all data; then try again. "
            "With the data kept, use UI_BIND=127.0.0.1 and an SSH tunnel."
        )


def _with_values(text: str, values: Mapping[str, str]) -> str:
    """A .env's text with other values; a name without a line gets one at the end."""
    for name, value in values.items():
        text, lines = re.subn(rf"^(?:export )?{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        if not lines:
            text = f"{text.rstrip()}\n{name}={value}\n"
    return text
