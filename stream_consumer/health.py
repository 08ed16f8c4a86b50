"""Health of the consumer, from memory: a health request never waits for a server that is away."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Final

from gourmetgram.observability import HealthCheck, ProgressWatch

_SILENT_S: Final = 30.0


class ConsumerHealth:
    """Conditions of `/health`, set by the worker and read by the health server.

    Args:
        broker_connected: returns True while a broker is connected.
        standstill_s: longest time that pending work may stand still, seconds.
    """

    def __init__(self, broker_connected: Callable[[], bool], standstill_s: float) -> None:
        self._broker_connected = broker_connected
        self._standstill = ProgressWatch(standstill_s)
        self._polled_at = time.monotonic()
        self.redis_up = False
        """True when Redis answered last time."""
        self.waiting_for: str | None = None
        """Reason for a standstill at the moment, as a sentence."""

    def polled(self) -> None:
        """Record that the client was polled."""
        self._polled_at = time.monotonic()

    def watch(self, unfinished: Mapping[Hashable, object]) -> None:
        """Take the unfinished work, by kind, each with its progress."""
        if not unfinished:
            self.waiting_for = None
        self._standstill.look(unfinished)

    def checks(self) -> dict[str, HealthCheck]:
        """Checks of `/health`, by name."""
        return {
            "redis": lambda: self.redis_up,
            "broker": self._broker_connected,
            "polling": lambda: time.monotonic() - self._polled_at < _SILENT_S,
            "progress": self._standstill.moving,
        }

    def details(self) -> dict[str, Callable[[], object]]:
        """More facts for people, without effect on the status."""
        return {"waiting_for": lambda: self.waiting_for}
