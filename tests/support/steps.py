"""The steps of a task of the lakehouse, seen through its log: a test ends or disturbs a run after any of them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[str], None]
"""Receives the name of each step that is done, in the thread of the task; what it raises ends the task."""

_PREFIX = "Step done: "


class _StepHandler(logging.Handler):
    def __init__(self, on_step: Step) -> None:
        super().__init__(logging.DEBUG)
        self._on_step = on_step

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(_PREFIX):
            self._on_step(text.removeprefix(_PREFIX))


@contextmanager
def watched_steps(on_step: Step) -> Iterator[None]:
    """Call `on_step` after each step of the tasks that run in the block."""
    logger = logging.getLogger("gourmetgram.lakehouse")
    before, handler = logger.level, _StepHandler(on_step)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
