"""Make the key that signs models: `python -m setup_jobs.model_keys`. With `rotate`, add a new one.

The file is MODEL_SIGNING_KEYS_FILE, by default that of the volume of the Compose lab.
"""

import sys
from pathlib import Path
from typing import Final

from gourmetgram.errors import PlatformError, SettingsError
from gourmetgram.models import keys
from gourmetgram.models.settings import ModelStoreSettings

VOLUME_FILE: Final = Path("/model-keys/signing")
# Users of several containers read it, so only the volume keeps others away from it.
_MODE: Final = 0o444


def main(arguments: list[str] | None = None) -> int:
    """Make or rotate the key.

    Returns:
        The exit code: 0, 1 for a file that cannot be written, 2 for a wrong setting or argument.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if words not in ([], ["rotate"]):
        sys.stderr.write("The only argument is `rotate`.\n")
        return 2
    try:
        settings = ModelStoreSettings.load()
        sys.stdout.write(f"{_done(settings, rotate=bool(words))}\n")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _done(settings: ModelStoreSettings, *, rotate: bool) -> str:
    file = settings.model_signing_keys_file or VOLUME_FILE
    if settings.model_signing_keys:
        return f"MODEL_SIGNING_KEYS has the keys that sign models: {file} is not used."
    if rotate:
        keys.rotate(file, _MODE)
        return f"A new key in {file} signs models. Older ones stay valid until their lines are deleted."
    made = keys.create(file, _MODE)
    return f"A key that signs models was made in {file}." if made else f"The key that signs models exists in {file}."


if __name__ == "__main__":
    sys.exit(main())
