"""All checks, in the order in which their problems are solved."""

from pathlib import Path
from typing import Final

import yaml

from gourmetgram.settings import process_environment
from gourmetgram_tools.compose.file import ForeignImage, foreign_images
from gourmetgram_tools.compose.ports import PUBLISHED
from gourmetgram_tools.compose.settings import ComposeSettings, variables_of
from gourmetgram_tools.doctor import configuration, docker, machine
from gourmetgram_tools.doctor.exposure import check_exposure, machine_addresses
from gourmetgram_tools.doctor.findings import Finding
from gourmetgram_tools.doctor.images import check_images
from gourmetgram_tools.doctor.ports import check_ports

_MINIO: Final = "http://127.0.0.1:9000/minio/health/live"


def examine(checkout: Path) -> list[Finding]:
    """Examine the machine and a checkout of the lab.

    Args:
        checkout: root of the repository.

    Raises:
        SettingsError: docker/.env has a value that is not allowed.
    """
    folder = checkout / "docker"
    file = folder / "docker-compose.yaml"
    lab = ComposeSettings.of(folder / ".env")
    engine = docker.check_engine()
    return [
        engine,
        docker.check_compose(),
        *configuration.check_env_file(folder, lab),
        docker.check_compose_file(file),
        *configuration.check_pages(file),
        *check_exposure(lab, machine_addresses()),
        *check_images(_images(file), engine),
        *check_ports(PUBLISHED, lab, docker.running_containers()),
        machine.check_memory(),
        machine.check_disk(),
        machine.check_clock(checkout, _MINIO),
    ]


def _images(compose_file: Path) -> list[ForeignImage]:
    """Other publishers' images with the lab's settings; none for a broken file, which is a finding of its own."""
    variables = variables_of(compose_file.parent / ".env") | process_environment()
    try:
        return foreign_images(compose_file, variables)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return []
