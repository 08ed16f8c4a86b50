"""A budget of bytes that requests share: all requests in progress together stay within it."""

import asyncio
import contextlib
from collections import deque

from gourmetgram.errors import TransientError

WAIT_S = 1.0
"""Longest wait for room, seconds."""


class ByteBudget:
    """Bytes of memory that may be in use at the same time. First come, first served.

    Args:
        name: name of the work, for the log.
        total: size of the budget, bytes.
    """

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._free = self.total = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has_room(self, size: int) -> bool:
        """True if `take` needs no wait."""
        return size <= self._free and not self._waiting

    async def take(self, size: int) -> None:
        """Reserve bytes; the caller gives the same number back.

        Raises:
            TransientError: there was no room for a second.
        """
        if self.has_room(size):
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(WAIT_S):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.cancelled():
                with contextlib.suppress(ValueError):  # its turn came in the same moment
                    self._waiting.remove((size, turn))
                self._admit()
            else:
                self.give_back(size)
            if isinstance(error, TimeoutError):
                raise TransientError(f"the memory for {self._name} is in use ({self.total} bytes)") from None
            raise

    def give_back(self, size: int) -> None:
        """Return reserved bytes."""
        self._free += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= size
                turn.set_result(None)
