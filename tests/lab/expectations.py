"""Expected sights: errors, assertions, and waits with a deadline."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from gourmetgram.errors import PlatformError

T = TypeVar("T")

_PAUSE_S = 0.5


class RehearsalError(PlatformError):
    """The rehearsal cannot go on; the text names the cause and the remedy."""


class NotSeenError(PlatformError):
    """A step did not show the promised sight; the text says what was seen instead."""


def expect(condition: object, complaint: str) -> None:
    """Raise NotSeenError with the complaint unless the condition holds."""
    if not condition:
        raise NotSeenError(complaint)


def until(probe: Callable[[], T], deadline_s: float) -> T:
    """Repeat a probe until it raises no NotSeenError; return its answer.

    Raises:
        NotSeenError: the last complaint, after the deadline.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(NotSeenError), stop=stop_after_delay(deadline_s), wait=wait_fixed(_PAUSE_S)
    )
    try:
        return attempts(probe)
    except RetryError as error:
        complaint = error.last_attempt.exception()
        raise NotSeenError(f"{complaint} (waited {deadline_s:.0f} s)") from complaint
