"""Runs of other programs, with their answers."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gourmetgram.settings import process_environment

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Answer:
    """Answer of a program.

    Attributes:
        code: exit code; None when the program did not end in time.
        output: standard output, stripped.
        error: standard error, stripped.
    """

    code: int | None
    output: str
    error: str

    @property
    def succeeded(self) -> bool:
        """True for the exit code 0."""
        return self.code == 0

    @property
    def last_line(self) -> str:
        """Last line of standard error, or else of standard output, which is usually the reason of a failure."""
        lines = (self.error or self.output).splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


def ask(
    program: str,
    *arguments: str,
    timeout_s: float = _TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Answer | None:
    """Run a program and wait for its answer.

    Args:
        program: name or path.
        arguments: arguments of the program.
        timeout_s: seconds after which the program is killed.
        environment: variables added to those of this process.
        folder: working directory.

    Returns:
        Answer of the program; None when it is not installed.
    """
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - callers pass fixed commands
            [path, *arguments],
            cwd=folder,
            env=process_environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return Answer(None, _text(error.stdout), f"{_text(error.stderr)}\nno answer within {timeout_s:.0f} s".strip())
    except OSError as error:
        return Answer(None, "", str(error))
    return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())


def _text(stream: str | bytes | None) -> str:
    """Decode the output of a killed program: subprocess leaves it as bytes."""
    return (stream.decode(errors="replace") if isinstance(stream, bytes) else stream or "").strip()
