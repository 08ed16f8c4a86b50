"""Where the rehearsal keeps its things."""

from pathlib import Path
from typing import Final

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.local.settings import LocalSettings

FILES: Final = Path(__file__).parent / "standins" / "files"
"""One folder for each stand-in image: its Dockerfile and start scripts."""
OUTPUT: Final = PROJECT_ROOT / ".rehearsal"
"""Report, logs and screenshots of the last run; not tracked."""
CHECKOUT: Final = OUTPUT / "data-platform-chi"
"""A copy of the checkout, which is what is rehearsed."""
COMPOSE_FILE: Final = CHECKOUT / "docker" / "docker-compose.yaml"
COMMAND_LOG: Final = OUTPUT / "commands.log"
"""Every command of the last run with what it wrote."""


LOGS: Final = OUTPUT / "logs"
"""What each container of the last run wrote."""


def program_cache() -> Path:
    """The folder in which the local stack keeps Kafka's jars and MinIO."""
    return LocalSettings.load().cache


def cache() -> Path:
    """Folder of what a rehearsal downloads and builds, kept for the next one."""
    folder = program_cache() / "rehearsal"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
