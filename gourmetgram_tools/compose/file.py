"""The compose file, read without Docker as Compose reads it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

VARIABLE: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")
"""Variable in a value, with its default."""
_OWN: Final = "gourmetgram-"
"""Beginning of the names of images that are built from this repository."""


@dataclass(frozen=True)
class ForeignImage:
    """An image that is not built here.

    Attributes:
        name: name with tag, as in a pull.
        variable: variable of docker/.env that replaces it or its tag; empty when there is none.
        services: services that run the image, or are built on it.
    """

    name: str
    variable: str
    services: tuple[str, ...]


def services_of(compose_file: Path, variables: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Read every service, with variables filled in and `$$` as one dollar.

    Args:
        compose_file: path of the file.
        variables: variables that override the defaults in the file; an empty one counts as unset.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError: it is no YAML.
    """
    services: dict[str, dict[str, Any]] = document_of(compose_file, variables)["services"]
    return services


def document_of(compose_file: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read the whole file, with variables filled in as in `services_of`."""
    return cast(dict[str, Any], _filled(unfilled(compose_file), variables or {}))


def foreign_images(compose_file: Path, variables: Mapping[str, str] | None = None) -> list[ForeignImage]:
    """List the images that are not built here, by name: those of services, and the bases of built images.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError: it is no YAML.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for service, content in unfilled(compose_file)["services"].items():
        for text in _images_in(content):
            name = _filled_text(text, variables or {})
            if not name.startswith(_OWN):
                match = VARIABLE.search(text)
                found.setdefault((name, match[1] if match else ""), []).append(service)
    return [ForeignImage(name, variable, tuple(services)) for (name, variable), services in sorted(found.items())]


def unfilled(compose_file: Path) -> dict[str, Any]:
    """Read the whole file, with its variables as they stand.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError: it is no YAML.
    """
    document: dict[str, Any] = yaml.safe_load(compose_file.read_text(encoding="utf-8"))
    return document


def _images_in(service: Mapping[str, Any]) -> Iterator[str]:
    if "image" in service:
        yield service["image"]
    arguments = service.get("build", {}).get("args", {})
    yield from (value for name, value in arguments.items() if name.endswith("_IMAGE"))


def _filled(value: object, variables: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        return {key: _filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, variables) for each in value]
    return _filled_text(value, variables) if isinstance(value, str) else value


def _filled_text(text: str, variables: Mapping[str, str]) -> str:
    # Like Compose: with `:-`, an empty variable counts as unset.
    return VARIABLE.sub(lambda match: variables.get(match[1]) or match[2] or "", text).replace("$$", "$")
