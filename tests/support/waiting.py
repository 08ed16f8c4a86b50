"""Waiting for a condition with a deadline: the only way in which tests wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02


def wait_until(condition: Callable[[], T], deadline_s: float = 10.0, what: str = "the condition") -> T:
    """Return the condition's first true value.

    Args:
        condition: asked again and again.
        deadline_s: after this many seconds the test fails.
        what: ends the sentence "… was waited for", for the failure's text.
    """
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} was waited for {deadline_s:g} s; last value: {value!r}")
        time.sleep(_PAUSE_S)


async def wait_until_async(
    condition: Callable[[], Awaitable[T]], deadline_s: float = 10.0, what: str = "the condition"
) -> T:
    """As `wait_until`, for an asynchronous condition and without blocking the event loop."""
    end = time.monotonic() + deadline_s
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} was waited for {deadline_s:g} s; last value: {value!r}")
        await asyncio.sleep(_PAUSE_S)
