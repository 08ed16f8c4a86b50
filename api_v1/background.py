"""Work that runs beside the requests of an API process."""

import asyncio
from abc import ABC, abstractmethod


class BackgroundTask(ABC):
    """One task of the event loop, from `start` to `stop`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; no store has to answer yet."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, timeout_s: float = 0.0) -> None:
        """End at once, whatever the time-out: the next process goes on from the state of the stores."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abstractmethod
    async def _run(self) -> None:
        """Do the work; cancelled by `stop`."""
