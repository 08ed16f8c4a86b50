"""File of the keys that sign models: one key per line, the newest first."""

import secrets
from pathlib import Path
from typing import Final

from gourmetgram.errors import PermanentError
from gourmetgram.files import replace_file

SHORTEST: Final = 32
"""Fewest characters of a key."""


def read(file: Path) -> tuple[str, ...]:
    """The keys in a file; none without a file.

    Raises:
        PermanentError: the file cannot be read, or has a key that is too short.
    """
    try:
        keys = tuple(file.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise PermanentError(f"The signing keys in {file} cannot be read: {error}.") from error
    if any(len(key) < SHORTEST for key in keys):
        raise PermanentError(f"A signing key in {file} has less than {SHORTEST} characters: write a longer one.")
    return keys


def create(file: Path, mode: int = 0o600) -> bool:
    """Make the first key, unless the file has one.

    Args:
        file: the file of the keys.
        mode: its permissions.

    Returns:
        True when a key was made.

    Raises:
        PermanentError: the file cannot be read or written.
    """
    if read(file):
        return False
    _write(file, (_new(),), mode)
    return True


def rotate(file: Path, mode: int = 0o600) -> None:
    """Add a new key in front: it signs from now on, and signatures of the older keys stay valid.

    Raises:
        PermanentError: the file cannot be read or written.
    """
    _write(file, (_new(), *read(file)), mode)


def _new() -> str:
    return secrets.token_urlsafe(32)


def _write(file: Path, keys: tuple[str, ...], mode: int) -> None:
    try:
        replace_file(file, "".join(f"{key}\n" for key in keys), mode)
    except OSError as error:
        raise PermanentError(f"The signing keys in {file} cannot be written: {error}.") from error
