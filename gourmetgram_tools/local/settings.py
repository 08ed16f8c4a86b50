"""Settings of the local stack itself (those of the services are in `gourmetgram.settings`)."""

from pathlib import Path

from platformdirs import user_cache_path

from gourmetgram.settings import PROJECT_ROOT, Settings


class LocalSettings(Settings):
    """Name of the stack, and folders of stacks and downloaded programs."""

    gourmetgram_stack: str = "default"
    """Name of the stack that a command acts on."""
    gourmetgram_stack_home: Path = PROJECT_ROOT / ".stack"
    """Folder that holds one folder per stack."""
    gourmetgram_system_home: Path = Path("/var/lib/gourmetgram")
    """As root: folder of PostgreSQL's programs and data of all stacks, which PostgreSQL's user can read."""
    gourmetgram_cache: Path | None = None
    """Folder for programs that are fetched or built once; None = the user's cache folder."""
    ui_bind: str = "127.0.0.1"
    """Address on which the API and the MinIO console of a new stack listen."""

    @property
    def cache(self) -> Path:
        """Folder shared by all stacks and checkouts of this user."""
        return self.gourmetgram_cache or user_cache_path("gourmetgram")
