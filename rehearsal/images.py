"""The images of a rehearsal: official names filled with stand-ins, then the lab's own builds."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gourmetgram_tools.local.progress import StepReport
from rehearsal import shell
from rehearsal.errors import RehearsalError
from rehearsal.lab import Lab
from rehearsal.standins import building
from rehearsal.standins.catalogue import NOT_REHEARSED, repository

_FROM = re.compile(r"^FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE | re.MULTILINE)
_ARGUMENT = re.compile(r"^ARG\s+(\w+)=(\S+)", re.MULTILINE)
# MinIO is compiled: minutes on free cores, twenty on busy ones.
_BUILD_S = 2700


@dataclass(frozen=True)
class Image:
    """An image of the lab.

    Attributes:
        name: as in the compose file or a Dockerfile.
        made_of: what stands in for it, or "built from …".
        megabytes: its size.
    """

    name: str
    made_of: str
    megabytes: int


def provide_official(lab: Lab, report: StepReport) -> list[Image]:
    """Fill every official name that the lab needs; those that cannot be built are left out."""
    names = {service["image"] for service in lab.services.values() if "build" not in service}
    names |= {base for service in lab.services.values() if "build" in service for base in base_images(service["build"])}
    wanted = sorted(name for name in names if repository(name) not in NOT_REHEARSED)
    return [Image(name, building.provide(name, report), _megabytes(name)) for name in wanted]


def build_own(lab: Lab, wanted: Callable[[str], bool], report: StepReport) -> list[Image]:
    """Build the lab's own images, as `DC build` does, one after the other.

    Args:
        lab: the platform.
        wanted: says of a service whether its image is needed.
        report: told the progress.

    Raises:
        RehearsalError: a build failed.
    """
    built: dict[str, Image] = {}
    for name, service in lab.services.items():
        image = service.get("image", name)
        if "build" not in service or not wanted(name) or image in built:
            continue
        report(f"building {image}")
        answer = lab.compose(f"build {name}", timeout=_BUILD_S)
        if answer.code != 0:
            raise RehearsalError(f"The image of {name} could not be built:\n{answer.tail}")
        file = Path(service["build"]["dockerfile"])
        built[image] = Image(image, f"built from {file} in {answer.seconds:.0f} s", _megabytes(image))
    return list(built.values())


def base_images(build: dict[str, Any]) -> Iterator[str]:
    """Images that a Dockerfile starts from, its own stages left out."""
    file = Path(build["context"]) / build.get("dockerfile", "Dockerfile")
    text = file.read_text(encoding="utf-8")
    values = dict(_ARGUMENT.findall(text)) | {name: value for name, value in build.get("args", {}).items() if value}
    stages = {stage for _, stage in _FROM.findall(text) if stage}
    for name, _stage in _FROM.findall(text):
        plain = re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found.group(1), found.group(0)), name)
        if plain not in stages and plain != "scratch":
            yield plain


def _megabytes(image: str) -> int:
    return round(int(shell.check(["docker", "image", "inspect", "--format", "{{.Size}}", image])) / 1e6)
