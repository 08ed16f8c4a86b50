"""Everything that is looked at, in the order in which things have to be put right."""

from pathlib import Path
from typing import Final

from gourmetgram.compose.ports import PUBLISHED
from gourmetgram.compose.settings import ComposeSettings
from gourmetgram.doctor import configuration, docker, machine
from gourmetgram.doctor.findings import Finding
from gourmetgram.doctor.ports import check_ports

_MINIO: Final = "http://127.0.0.1:9000/minio/health/live"


def examine(checkout: Path) -> list[Finding]:
    """Look at the machine and at a checkout of the lab.

    Args:
        checkout: the repository's root.

    Raises:
        SettingsError: docker/.env has a value that is not allowed.
    """
    folder = checkout / "docker"
    lab = ComposeSettings.of(folder / ".env")
    return [
        docker.check_engine(),
        docker.check_compose(),
        *configuration.check_env_file(folder, lab),
        docker.check_compose_file(folder / "docker-compose.yaml"),
        configuration.check_nimtable(folder / "nimtable-config.yaml", lab),
        *check_ports(PUBLISHED, lab, docker.running_containers()),
        machine.check_memory(),
        machine.check_disk(),
        machine.check_clock(checkout, _MINIO),
    ]
