"""Room for the bodies of uploads: a budget of bytes, in which an upload that stalls makes room for others."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.types import Message, Receive

from api_v1.budget import ByteBudget
from gourmetgram.database.pool import now
from gourmetgram.errors import TransientError

log = logging.getLogger(__name__)

LEAST_RATE: Final = 64 * 1024
"""Bytes a second that keep an upload's place. The largest upload needs more to be read in time."""

GRACE_S: Final = 1.0
"""Longest silence of an upload that keeps its place although others need it, seconds."""

CUT_EVERY_S: Final = 0.1
"""Pause between two uploads that are cut, in which the first one frees its bytes."""


class Reading:
    """Body of one upload while it arrives."""

    def __init__(self) -> None:
        self.in_time_until = now() + GRACE_S
        """Time on the event loop's clock after which the upload is slow, unless more bytes arrive."""
        self._limit: asyncio.Timeout | None = None
        self._cut = False

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Limit the time in which the block reads the body.

        Raises:
            TimeoutError: the time is over.
            TransientError: the upload was slow, and others needed its room.
        """
        try:
            async with asyncio.timeout(seconds) as self._limit:
                yield
        except TimeoutError:
            if self._cut:
                raise TransientError("a slow upload made room for others") from None
            raise
        finally:
            self._limit = None

    def counted(self, receive: Receive) -> Receive:
        """Wrap the source of the body's messages to see its rate."""

        async def receive_counted() -> Message:
            message = await receive()
            time = now()
            earned_s = len(message.get("body", b"")) / LEAST_RATE
            self.in_time_until = min(time + GRACE_S, max(time, self.in_time_until) + earned_s)
            return message

        return receive_counted

    def slow(self) -> bool:
        """True while the body arrives too slowly to keep its place."""
        return self._limit is not None and not self._cut and now() > self.in_time_until

    def cut(self) -> None:
        """End the reading of a slow body."""
        if self._limit is not None:
            self._cut = True
            with contextlib.suppress(RuntimeError):  # it ends in this moment
                self._limit.reschedule(now())


class UploadRoom:
    """Bytes of all uploads in flight, from before their first byte until their rows are stored.

    Args:
        total: size of the budget, bytes.
    """

    def __init__(self, total: int) -> None:
        self._budget = ByteBudget("uploads", total)
        self._readings: set[Reading] = set()
        self._next_cut_at = 0.0

    @asynccontextmanager
    async def admit(self, size: int) -> AsyncIterator[Reading]:
        """Hold room for an upload during the block.

        Raises:
            TransientError: there was no room for a second.
        """
        await self._take(size)
        reading = Reading()
        self._readings.add(reading)
        try:
            yield reading
        finally:
            self._readings.discard(reading)
            self._budget.give_back(size)

    async def _take(self, size: int) -> None:
        if self._budget.has_room(size):
            await self._budget.take(size)
            return
        cutting = asyncio.create_task(self._cut_slow_ones())
        try:
            await self._budget.take(size)
        finally:
            cutting.cancel()

    async def _cut_slow_ones(self) -> None:
        """Cut the slow uploads one by one, the slowest first, while another one waits for room."""
        while True:
            slow = [reading for reading in self._readings if reading.slow()]
            if slow and now() >= self._next_cut_at:
                self._next_cut_at = now() + CUT_EVERY_S
                log.warning("An upload that stalls makes room for others")
                min(slow, key=lambda reading: reading.in_time_until).cut()
            await asyncio.sleep(CUT_EVERY_S)
