"""Part that the stack supervises: it is prepared, run as a program, and probed for its health."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gourmetgram_tools.local.progress import StepReport


@dataclass(frozen=True)
class Program:
    """Program of a component, as supervisord runs it."""

    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """Operating-system user of the program; None = the caller."""
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    """Seconds from a stop to SIGKILL."""
    stop_group: bool = True
    """True = the stop signal goes to the whole process group, not only to its leader."""


class Component(ABC):
    """A server or a service of a stack.

    Attributes:
        name: name in commands and log files.
        title: name for display.
        ports: ports by purpose.
        host: address on which it listens.
        contents: things that `initialise` creates, in a word; empty = none.
    """

    name: str
    title: str
    host: str = "127.0.0.1"
    contents: str = ""

    @property
    @abstractmethod
    def ports(self) -> Mapping[str, int]:
        """Ports of the component by purpose; the first is the main one."""

    def obtain(self, report: StepReport) -> None:  # noqa: B027 - most components need nothing
        """Fetch or build the needed programs, once for all stacks; the first time may take minutes."""

    def prepare(self, report: StepReport) -> None:  # noqa: B027
        """Prepare the data folder; called before each start, cheap when it is ready."""

    @abstractmethod
    def program(self) -> Program:
        """Program to run."""

    @abstractmethod
    def healthy(self) -> bool:
        """Probe, within about two seconds, that it answers its clients."""

    def initialise(self, report: StepReport) -> None:  # noqa: B027
        """Create the contents that clients expect (schema, topics, buckets); idempotent."""
