"""Part that the stack supervises: it can be prepared, run as a program, and probed for its health."""

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
    """Operating-system user to run as, when it is not the caller's own."""
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    """Longest time from a stop to SIGKILL."""
    stop_group: bool = True
    """Send the stop signal to the whole process group, not only to the leader."""


class Component(ABC):
    """A server or a service of a stack.

    Attributes:
        name: how commands and log files call it.
        title: how people call it.
        ports: the ports it listens on, by what each is for.
        host: the address it listens on.
        contents: what `initialise` brings into being, in a word; empty = nothing.
    """

    name: str
    title: str
    host: str = "127.0.0.1"
    contents: str = ""

    @property
    @abstractmethod
    def ports(self) -> Mapping[str, int]:
        """Every port that the component listens on, by purpose; the first is the main one."""

    def obtain(self, report: StepReport) -> None:  # noqa: B027 - most components need nothing
        """Fetch or build the programs that it needs, once for all stacks; may take minutes the first time."""

    def prepare(self, report: StepReport) -> None:  # noqa: B027
        """Make its data folder ready; called before each start, cheap when there is nothing to do."""

    @abstractmethod
    def program(self) -> Program:
        """The program to run."""

    @abstractmethod
    def healthy(self) -> bool:
        """Ask, within about two seconds, whether it answers its clients."""

    def initialise(self, report: StepReport) -> None:  # noqa: B027
        """Bring what clients expect to find inside (schema, topics, buckets) into being; safe to repeat."""
