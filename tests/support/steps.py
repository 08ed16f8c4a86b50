"""The steps of a task of the lakehouse, seen through its log: a test ends or disturbs a run after any of them."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[str], None]
"""Receives the name of each step that is done, in the thread of the task; what it raises ends the task."""

_PREFIX = "Step done: "
_LOGGER = logging.getLogger("gourmetgram.lakehouse")


class _StepHandler(logging.Handler):
    """Hands on the steps of the thread that made it; two runs at once have one each."""

    def __init__(self, on_step: Step) -> None:
        super().__init__(logging.DEBUG)
        self._on_step = on_step
        self._thread = threading.get_ident()
        # A step may wait for the step of another thread: no lock around it.
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(_PREFIX) and threading.get_ident() == self._thread:
            self._on_step(text.removeprefix(_PREFIX))


@contextmanager
def watched_steps(on_step: Step) -> Iterator[None]:
    """Call `on_step` after each step of the tasks that run in the block, in this thread."""
    # Never set back: another thread's block may go on.
    _LOGGER.setLevel(logging.DEBUG)
    handler = _StepHandler(on_step)
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
