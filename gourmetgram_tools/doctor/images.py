"""Check that registries still have other publishers' images."""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from gourmetgram_tools.compose.file import ForeignImage
from gourmetgram_tools.doctor.findings import Finding, Level, ok, problem, warning
from gourmetgram_tools.programs import Answer, ask

_WITHIN_S: Final = 20.0
_CHECK: Final = "Images"

_NO_ANSWER: Final = re.compile(
    r"toomanyrequests|rate limit|insufficient scopes|incorrect username or password|credentials", re.IGNORECASE
)
"""The registry refuses this caller, not the image."""
_GONE: Final = re.compile(
    r"^(denied|unauthorized)\b|manifest unknown|no such manifest|name unknown|pull access denied"
    r"|repository does not exist|401 unauthorized|404 not found|HTTP 40[14]\b|: not found$",
    re.IGNORECASE | re.MULTILINE,
)
"""Words of Docker's client for answers 404, 401 and 403: registries do not distinguish private and removed images."""

_OFFICIAL: Final = "public.ecr.aws/docker/library/"
"""Copies of Docker's official images, whose names have no slash."""
_REDPANDA: Final = "docker.redpanda.com/"
"""A mirror of Docker Hub."""


def check_images(images: Sequence[ForeignImage], engine: Finding, within_s: float = _WITHIN_S) -> list[Finding]:
    """Check each image: present on the machine, at its registry, gone, or not reachable.

    Args:
        images: images to check, all at the same time.
        engine: finding about Docker; without a working Docker, no image is checked.
        within_s: seconds for all images together.
    """
    if engine.level is not Level.OK:
        return [warning(_CHECK, "No image was looked for: Docker does not answer.", "Look again when Docker runs.")]
    if not images:
        return []
    deadline = time.monotonic() + within_s
    with ThreadPoolExecutor(max_workers=len(images)) as pool:
        return list(pool.map(partial(_check, deadline=deadline), images))


def _check(image: ForeignImage, deadline: float) -> Finding:
    check = f"Image {image.name}"
    if _ask(deadline, "image", "inspect", "--format", "{{.Id}}", image.name).succeeded:
        return ok(check, "It is on this machine.")
    answer = _ask(deadline, "manifest", "inspect", image.name)
    if answer.succeeded:
        return ok(check, "Its registry has it.")
    said = answer.error or answer.output
    if _GONE.search(said) and not _NO_ANSWER.search(said):
        return problem(check, f"It is gone from its registry, or private: {answer.last_line}", _way_out(image))
    return warning(
        check,
        f"Its registry was not reached: {answer.last_line}",
        "Look again with a network. `make lab-pull` fetches all images before the lesson.",
    )


def _ask(deadline: float, *arguments: str) -> Answer:
    left_s = deadline - time.monotonic()
    answer = ask("docker", *arguments, timeout_s=left_s) if left_s > 0 else Answer(None, "", "no answer in time")
    return answer or Answer(None, "", "Docker is not installed")


def _way_out(image: ForeignImage) -> str:
    table = 'docs/compose.md, "Images of others", has the other ways out'
    if not image.variable:
        return f"Change the image of {', '.join(image.services)} in docker/docker-compose.yaml; {table}."
    example = _elsewhere(image)
    value = f", for example {image.variable}={example}" if example else " to an image that exists"
    return f"Set {image.variable} in docker/.env{value}; {table}."


def _elsewhere(image: ForeignImage) -> str:
    """Alternative for an image that is gone; empty when none is known."""
    if image.variable == "NIMTABLE_TAG":
        return "" if image.name.endswith(":nightly") else "nightly"
    if "/" not in image.name:
        return _OFFICIAL + image.name
    return image.name.removeprefix(_REDPANDA) if image.name.startswith(_REDPANDA) else ""
