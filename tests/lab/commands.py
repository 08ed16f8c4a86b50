"""Commands as a student types them: run, timed, logged."""

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.programs import ask
from tests.lab.expectations import RehearsalError, expect
from tests.lab.places import COMMAND_LOG

_LAST_LINES = 25


@dataclass(frozen=True)
class Ended:
    """End of a command.

    Attributes:
        command: as typed in a shell.
        code: exit code; None = killed at the time limit.
        stdout: standard output, stripped.
        output: standard output, then standard error.
        seconds: duration.
    """

    command: str
    code: int | None
    stdout: str
    output: str
    seconds: float

    @property
    def tail(self) -> str:
        """Last lines of the output."""
        return "\n".join(self.output.splitlines()[-_LAST_LINES:])

    def must_succeed(self) -> "Ended":
        """Raise NotSeenError unless the code is 0."""
        expect(self.code == 0, f"`{self.command}` ended with code {self.code}:\n{self.tail}")
        return self


def run(
    *command: str | Path,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    folder: Path = PROJECT_ROOT,
) -> Ended:
    """Run a command to its end, whatever its exit code; arguments as of `gourmetgram_tools.programs.ask`."""
    program, *arguments = map(str, command)
    started = time.monotonic()
    answer = ask(program, *arguments, timeout_s=timeout, environment=environment, folder=folder)
    if answer is None:
        raise RehearsalError(f"There is no program {program}.")
    output = "\n".join(filter(None, (answer.output, answer.error)))
    ended = Ended(shlex.join([program, *arguments]), answer.code, answer.output, output, time.monotonic() - started)
    COMMAND_LOG.parent.mkdir(parents=True, exist_ok=True)
    with COMMAND_LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {ended.command}\n{ended.output}\n[{ended.code}, {ended.seconds:.1f} s]\n\n")
    return ended


def check(
    *command: str | Path,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    folder: Path = PROJECT_ROOT,
) -> str:
    """Run a command that the rehearsal itself needs; return its standard output.

    Raises:
        RehearsalError: the command failed; the text holds its last lines.
    """
    ended = run(*command, timeout=timeout, environment=environment, folder=folder)
    if ended.code != 0:
        raise RehearsalError(f"`{ended.command}` ended with code {ended.code}:\n{ended.tail}")
    return ended.stdout
