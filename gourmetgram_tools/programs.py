"""Running a program to ask it something."""

import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Answer:
    """Answer of a program.

    Attributes:
        code: its exit code; None when it did not end in time.
        output: standard output, stripped.
        error: standard error, stripped.
    """

    code: int | None
    output: str
    error: str

    @property
    def succeeded(self) -> bool:
        """It ended with code 0."""
        return self.code == 0

    @property
    def last_line(self) -> str:
        """The last line of what it complained about: where programs put the reason."""
        lines = (self.error or self.output).splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


def ask(program: str, *arguments: str, timeout_s: float = _TIMEOUT_S) -> Answer | None:
    """Run a program and wait for its answer; None when it is not installed."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - callers pass fixed commands
            [path, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(None, "", f"no answer within {timeout_s:.0f} s")
    except OSError as error:
        return Answer(None, "", str(error))
    return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())
