"""Files and folders of the rehearsal."""

from pathlib import Path
from typing import Final

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.local.settings import LocalSettings

OUTPUT: Final = PROJECT_ROOT / ".rehearsal"
"""Report, logs and screenshots of the last run; not tracked."""
CHECKOUT: Final = OUTPUT / "data-platform-chi"
"""Copy of the checkout: the subject of the rehearsal."""
COMPOSE_FILE: Final = CHECKOUT / "docker" / "docker-compose.yaml"
COMMAND_LOG: Final = OUTPUT / "commands.log"
"""Every command of the last run with its output."""
LOGS: Final = OUTPUT / "logs"
"""One log for each container of the last run."""


def program_cache() -> Path:
    """Folder in which the local stack keeps Kafka's jars and MinIO."""
    return LocalSettings.load().cache


def cache() -> Path:
    """Folder of downloads and builds, kept for the next rehearsal."""
    folder = program_cache() / "rehearsal"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
