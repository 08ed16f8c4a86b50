"""A wait for a condition, with a deadline: a probe is repeated until its answer satisfies the caller."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

T = TypeVar("T")


def wait_for(
    probe: Callable[[], T],
    *,
    deadline_s: float,
    every_s: float,
    late: Callable[[T], Exception],
    done: Callable[[T], object] = bool,
) -> T:
    """Call the probe until its answer is done. The probe runs at least once, and its errors end the wait.

    Args:
        probe: asks for the state.
        deadline_s: seconds after which no further probe begins.
        every_s: seconds between two probes.
        late: makes the error from the last answer.
        done: returns True for an answer that ends the wait; by default, a true answer does.

    Returns:
        The answer that ended the wait.

    Raises:
        Exception: the error from `late`, when the deadline has passed.
    """
    attempts = Retrying(
        retry=retry_if_result(lambda answer: not done(answer)),
        stop=stop_after_delay(deadline_s),
        wait=wait_fixed(every_s),
    )
    try:
        return attempts(probe)
    except RetryError as error:
        raise late(error.last_attempt.result()) from None
