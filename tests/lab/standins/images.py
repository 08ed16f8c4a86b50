"""Images of a rehearsal: official names filled with stand-ins, then the lab's own builds."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gourmetgram_tools.local.progress import StepReport
from tests.lab.commands import check, run
from tests.lab.expectations import RehearsalError
from tests.lab.lab import Lab
from tests.lab.places import cache
from tests.lab.standins import parts
from tests.lab.standins.catalogue import BASE, BY_REPOSITORY, FILES, NOT_REHEARSED, StandIn, repository

_FROM: Final = re.compile(r"^FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE | re.MULTILINE)
_ARGUMENT: Final = re.compile(r"^ARG\s+(\w+)=(\S+)", re.MULTILINE)
_LABEL: Final = "gourmetgram.stand-in"
_DEBIAN: Final = "gourmetgram-standin/debian:latest"
# MinIO is compiled: minutes on free cores, twenty on busy ones.
_BUILD_S: Final = 2700


@dataclass(frozen=True)
class LabImage:
    """Image of the lab.

    Attributes:
        name: as in the compose file or a Dockerfile.
        made_of: its stand-in's origin, or "built from …".
        megabytes: its size.
    """

    name: str
    made_of: str
    megabytes: int


def provide_official(lab: Lab, report: StepReport) -> list[LabImage]:
    """Fill every official name that the lab needs and that has a stand-in.

    Raises:
        RehearsalError: an image has no stand-in, or its build failed.
    """
    names = {service["image"] for service in lab.services.values() if "build" not in service}
    names |= {base for service in lab.services.values() if "build" in service for base in base_images(service["build"])}
    wanted = sorted(name for name in names if repository(name) not in NOT_REHEARSED)
    return [LabImage(name, _provide(name, report), _megabytes(name)) for name in wanted]


def build_own(lab: Lab, wanted: Callable[[str], bool], report: StepReport) -> list[LabImage]:
    """Build the lab's own images, as `DC build` does, one after the other.

    Args:
        lab: the platform.
        wanted: tells of a service if its image is needed.
        report: called with the progress.

    Raises:
        RehearsalError: a build failed.
    """
    built: dict[str, LabImage] = {}
    for name, service in lab.services.items():
        image = service.get("image", name)
        if "build" not in service or not wanted(name) or image in built:
            continue
        report(f"building {image}")
        ended = lab.compose(f"build {name}", timeout=_BUILD_S)
        if ended.code != 0:
            raise RehearsalError(f"The image of {name} could not be built:\n{ended.tail}")
        origin = f"built from {Path(service['build']['dockerfile'])} in {ended.seconds:.0f} s"
        built[image] = LabImage(image, origin, _megabytes(image))
    return list(built.values())


def base_images(build: dict[str, Any]) -> Iterator[str]:
    """Images that a Dockerfile starts from, its own stages left out."""
    text = (Path(build["context"]) / build.get("dockerfile", "Dockerfile")).read_text(encoding="utf-8")
    values = dict(_ARGUMENT.findall(text)) | {name: value for name, value in build.get("args", {}).items() if value}
    stages = {stage for _, stage in _FROM.findall(text) if stage}
    for name, _stage in _FROM.findall(text):
        plain = re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found.group(1), found.group(0)), name)
        if plain not in stages and plain != "scratch":
            yield plain


def _provide(image: str, report: StepReport) -> str:
    """Fill an official name; return the image's origin. A real image under this name stays."""
    present = _labels(image)
    if present is not None and _LABEL not in present:
        return "the official image"
    stand_in = BY_REPOSITORY.get(repository(image))
    if stand_in is None:
        raise RehearsalError(f"There is no stand-in for the image {image}: see tests/lab/standins/catalogue.py.")
    _ensure(BASE, report)
    _ensure(stand_in, report)
    check("docker", "tag", _tag(stand_in), image)
    return stand_in.made_of


def _ensure(stand_in: StandIn, report: StepReport) -> None:
    mark = _mark(stand_in)
    if (_labels(_tag(stand_in)) or {}).get(_LABEL) == mark:
        return
    if stand_in is BASE and _labels(_DEBIAN) is None:
        parts.debian_root(_DEBIAN, report)
    report(f"building {stand_in.name}")
    with tempfile.TemporaryDirectory(dir=cache(), prefix="context-") as name:
        context = Path(name) / stand_in.name
        shutil.copytree(FILES / stand_in.name, context)
        for script in context.glob("*.sh"):
            script.chmod(0o755)
        if stand_in.prepare is not None:
            stand_in.prepare(context, report)
        words = ("docker", "build", "--label", f"{_LABEL}={mark}", "--tag", _tag(stand_in), context)
        # The classic builder needs no plugin, and takes local images for FROM without asking a registry.
        check(*words, timeout=1200, environment={"DOCKER_BUILDKIT": "0"})


def _tag(stand_in: StandIn) -> str:
    return f"gourmetgram-standin/{stand_in.name}:latest"


def _labels(image: str) -> dict[str, str] | None:
    """Labels of a local image; None = no such image."""
    ended = run("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image)
    return (json.loads(ended.stdout) or {}) if ended.code == 0 else None


def _mark(stand_in: StandIn) -> str:
    """Digest of the stand-in's files, its programs' version and its base."""
    digest = hashlib.sha256(stand_in.version.encode())
    for folder in sorted({FILES / "base", FILES / stand_in.name}):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _megabytes(image: str) -> int:
    return round(int(check("docker", "image", "inspect", "--format", "{{.Size}}", image)) / 1e6)
