"""Building stand-in images once, and giving them the official names that are asked for."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from gourmetgram_tools.local.progress import StepReport
from rehearsal import shell
from rehearsal.errors import RehearsalError
from rehearsal.places import FILES, cache
from rehearsal.standins import parts
from rehearsal.standins.catalogue import BASE, BY_REPOSITORY, StandIn, repository

_LABEL: Final = "gourmetgram.stand-in"
_DEBIAN: Final = "gourmetgram-standin/debian:latest"


def provide(image: str, report: StepReport) -> str:
    """Have a local image under an official name.

    An image that is there already and is no stand-in of ours is the real one: it stays.

    Args:
        image: name as in a compose file or Dockerfile.
        report: told the progress.

    Returns:
        What the image is made of, for the report.

    Raises:
        RehearsalError: there is no stand-in for it, or its build failed.
    """
    present = _labels(image)
    if present is not None and _LABEL not in present:
        return "the official image"
    stand_in = BY_REPOSITORY.get(repository(image))
    if stand_in is None:
        raise RehearsalError(f"There is no stand-in for the image {image}: see rehearsal/standins/catalogue.py.")
    _ensure(BASE, report)
    _ensure(stand_in, report)
    shell.check(["docker", "tag", _tag(stand_in), image])
    return stand_in.made_of


def _tag(stand_in: StandIn) -> str:
    return f"gourmetgram-standin/{stand_in.name}:latest"


def _labels(image: str) -> dict[str, str] | None:
    """Labels of a local image; None = no such image."""
    answer = shell.run(["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image])
    return (json.loads(answer.output) or {}) if answer.code == 0 else None


def _ensure(stand_in: StandIn, report: StepReport) -> None:
    mark = _mark(stand_in)
    if (_labels(_tag(stand_in)) or {}).get(_LABEL) == mark:
        return
    if stand_in is BASE and _labels(_DEBIAN) is None:
        parts.debian_root(_DEBIAN, report)
    with tempfile.TemporaryDirectory(dir=cache(), prefix="context-") as name:
        context = Path(name) / stand_in.name
        shutil.copytree(FILES / stand_in.name, context)
        for script in context.glob("*.sh"):
            script.chmod(0o755)
        stand_in.prepare(context, report)
        report(f"building {stand_in.name}")
        # The classic builder: it needs no plugin, and takes local images for FROM without asking a registry.
        shell.check(
            ["docker", "build", "--label", f"{_LABEL}={mark}", "--tag", _tag(stand_in), context],
            timeout=1200,
            environment={"DOCKER_BUILDKIT": "0"},
        )


def _mark(stand_in: StandIn) -> str:
    """Changes when the stand-in's files, its programs or its base change."""
    digest = hashlib.sha256(stand_in.version.encode())
    for folder in sorted({FILES / "base", FILES / stand_in.name}):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
