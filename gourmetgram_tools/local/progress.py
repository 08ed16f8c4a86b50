"""Progress of long operations of a stack, independent of the display."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

log = logging.getLogger(__name__)

StepReport = Callable[[str], None]
"""Takes a short text about the state of the current step."""


class StepProgress(Protocol):
    """Receives the named steps of a long operation."""

    def step(self, title: str) -> AbstractContextManager[StepReport]:
        """Open a step; leaving the context ends it."""
        ...


class LogProgress:
    """Writes each finished step, with its duration, to the log."""

    @contextmanager
    def step(self, title: str) -> Iterator[StepReport]:
        """Time the step and log it at its end; details go to DEBUG."""
        started = time.monotonic()
        yield lambda detail: log.debug("%s: %s", title, detail)
        log.info("%s (%.1f s)", title, time.monotonic() - started)
