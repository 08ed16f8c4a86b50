"""Commands of other programs: run, timed, logged."""

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gourmetgram.settings import PROJECT_ROOT, process_environment
from tests.lab.errors import RehearsalError
from tests.lab.places import COMMAND_LOG

_LAST_LINES = 25


@dataclass(frozen=True)
class Answer:
    """How a command ended.

    Attributes:
        command: as typed in a shell.
        code: exit code; 124 = stopped at the time limit, as `timeout` does.
        output: standard output and error, in the order of writing.
        seconds: how long it took.
    """

    command: str
    code: int
    output: str
    seconds: float

    @property
    def tail(self) -> str:
        """The last lines of the output."""
        return "\n".join(self.output.strip().splitlines()[-_LAST_LINES:])


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    folder: Path = PROJECT_ROOT,
    text: str | None = None,
) -> Answer:
    """Run a command to its end, whatever its exit code.

    Args:
        command: program and arguments.
        timeout: seconds after which it is killed.
        environment: variables added to the process's own.
        folder: working directory.
        text: its standard input; none by default.
    """
    words = [str(word) for word in command]
    started = time.monotonic()
    with subprocess.Popen(
        words,
        cwd=folder,
        env=process_environment() | dict(environment or {}),
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        code, output = _wait(process, text, timeout)
    answer = Answer(shlex.join(words), code, output, time.monotonic() - started)
    _log(answer)
    return answer


def _wait(process: "subprocess.Popen[str]", text: str | None, timeout: float) -> tuple[int, str]:
    try:
        output, _ = process.communicate(text, timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        return 124, f"{output}\n(stopped after {timeout:.0f} s)"
    except BaseException:  # Ctrl-C: no child goes on without us
        process.terminate()
        raise
    return process.returncode, output


def check(
    command: Sequence[str | Path],
    *,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
    folder: Path = PROJECT_ROOT,
    text: str | None = None,
) -> str:
    """Run a command that must succeed, and return what it wrote.

    Raises:
        RehearsalError: it failed; the text holds its last lines.
    """
    answer = run(command, timeout=timeout, environment=environment, folder=folder, text=text)
    if answer.code != 0:
        raise RehearsalError(f"`{answer.command}` ended with code {answer.code}:\n{answer.tail}")
    return answer.output


def _log(answer: Answer) -> None:
    COMMAND_LOG.parent.mkdir(parents=True, exist_ok=True)
    with COMMAND_LOG.open("a", encoding="utf-8") as file:
        file.write(f"$ {answer.command}\n{answer.output.rstrip()}\n[{answer.code}, {answer.seconds:.1f} s]\n\n")
