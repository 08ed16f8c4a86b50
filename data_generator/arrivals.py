"""Arrivals of a Poisson process, and a start of work at each; slow work never delays a later arrival."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from data_generator.statistics import Statistics

LATE_AFTER_S: Final = 1.0
"""Seconds after an arrival from which its start counts as late: the machine is too slow for the rate."""

MonotonicClock = Callable[[], float]
"""Clock in seconds that never goes back, such as `time.monotonic`."""

Sleep = Callable[[float], Awaitable[None]]

log = logging.getLogger(__name__)


class PoissonArrivals:
    """Endless arrival times with exponential gaps.

    Each time is the previous *scheduled* time plus a gap; the time of the actual start does not count. So the rate
    holds under any load, and a delay is made up for.

    Args:
        rate_per_s: mean arrivals per second.
        rng: draws the gaps.
        clock: gives the time in seconds.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        rate_per_s: float,
        rng: random.Random,
        clock: MonotonicClock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._rate_per_s = rate_per_s
        self._rng = rng
        self._clock = clock
        self._sleep = sleep

    async def __aiter__(self) -> AsyncIterator[float]:
        """Yield each arrival's scheduled time (of `clock`), at that time or as soon after as possible."""
        due = self._clock()
        while True:
            due += self._rng.expovariate(self._rate_per_s)
            # Also for arrivals that are already due: the sleep lets started tasks make a step.
            await self._sleep(max(0.0, due - self._clock()))
            yield due


class Dispatcher:
    """Starts a task at each arrival.

    No task waits for an earlier one. With `limit` tasks in flight, an arrival is dropped and counted. A later start
    would change the process; one more task could exhaust the machine.

    Args:
        limit: largest number of tasks in flight.
        statistics: counts late starts and dropped arrivals.
        clock: the clock of the arrivals.
    """

    def __init__(self, limit: int, statistics: Statistics, clock: MonotonicClock = time.monotonic) -> None:
        self._limit = limit
        self._statistics = statistics
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """Number of tasks in flight."""
        return len(self._tasks)

    async def run(self, arrivals: PoissonArrivals, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start `work()` at each arrival until cancelled."""
        async for due in arrivals:
            self.start(due, work)

    def start(self, due: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start `work()` for one arrival, or drop it."""
        if self.under_way >= self._limit:
            self._statistics.arrival_dropped()
            if self._statistics.dropped == 1:
                log.warning("%d requests are under way, the most allowed: arrivals are dropped", self._limit)
            return
        if self._clock() - due > LATE_AFTER_S:
            self._statistics.arrival_late()
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def finish(self, timeout_s: float) -> None:
        """Wait for the tasks in flight, and cancel those that take longer than `timeout_s`."""
        if not self._tasks:
            return
        _done, pending = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in pending:
            task.cancel()
        if pending:
            log.warning("Gave up %d requests that were still under way", len(pending))
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*pending, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Tasks handle expected failures; an error here is a bug of the generator. Traffic goes on.
            self._statistics.error()
            log.error("An event failed unexpectedly", exc_info=error)
