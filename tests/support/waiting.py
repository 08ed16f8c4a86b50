"""Waiting for a condition with a deadline: the only way in which tests wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.1


def _pause(waited_s: float) -> float:
    """Seconds until the next look: a long wait needs no quick one, and each look costs the servers something."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S + waited_s / 20)


def wait_until(condition: Callable[[], T | None], deadline_s: float = 10.0, what: str = "the condition") -> T:
    """Return the condition's first true value.

    Args:
        condition: asked again and again.
        deadline_s: after this many seconds the test fails.
        what: ends the sentence "… was waited for", for the failure's text.
    """
    begin = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited_s = time.monotonic() - begin
        if waited_s > deadline_s:
            raise AssertionError(f"{what} was waited for {deadline_s:g} s; last value: {value!r}")
        time.sleep(_pause(waited_s))


async def wait_until_async(
    condition: Callable[[], Awaitable[T | None]], deadline_s: float = 10.0, what: str = "the condition"
) -> T:
    """As `wait_until`, for an asynchronous condition and without blocking the event loop."""
    begin = time.monotonic()
    while True:
        value = await condition()
        if value:
            return value
        waited_s = time.monotonic() - begin
        if waited_s > deadline_s:
            raise AssertionError(f"{what} was waited for {deadline_s:g} s; last value: {value!r}")
        await asyncio.sleep(_pause(waited_s))
