"""Waiting for a sight with a deadline."""

import time
from collections.abc import Callable

from tests.lab.errors import NotSeenError

_PAUSE_S = 0.5


def until(look: Callable[[], str], deadline_s: float) -> str:
    """Look again and again until there is no complaint.

    Args:
        look: returns what it saw, or raises NotSeenError.
        deadline_s: seconds after which the last complaint is final.

    Raises:
        NotSeenError: the expected sight did not come in time.
    """
    end = time.monotonic() + deadline_s
    while True:
        try:
            return look()
        except NotSeenError as complaint:
            if time.monotonic() > end:
                raise NotSeenError(f"{complaint} (waited {deadline_s:.0f} s)") from complaint
        time.sleep(_PAUSE_S)
