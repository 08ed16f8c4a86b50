"""The lab's compose file as Compose would see it, read without Docker."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.compose.file import document_of

DOCKER = PROJECT_ROOT / "docker"
FILE = DOCKER / "docker-compose.yaml"
_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")


def variables_of_the_file() -> dict[str, set[str]]:
    """Every variable that the file reads, with the defaults it gives it (a set, so that two of them are seen)."""
    found: dict[str, set[str]] = {}
    code = "\n".join(line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    for name, default in _VARIABLE.findall(code):
        found.setdefault(name, set()).add(default)
    return found


def compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file with its variables filled in; `$$` stays as Compose would leave it, one dollar."""
    return document_of(FILE, variables)


def example_variables() -> dict[str, str]:
    """The variables of .env.example."""
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def dockerfiles() -> Iterator[Path]:
    """Every Dockerfile of the repository."""
    yield from (
        PROJECT_ROOT / name
        for name in (
            *("docker/Dockerfile", "docker/minio.Dockerfile", "docker/mlflow.Dockerfile"),
            *("airflow/Dockerfile", "model_training/Dockerfile"),
        )
    )
