"""Counts of the generator's actions: for the log every five minutes and for Prometheus at any time."""

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from data_generator.metrics import ACTIONS, ARRIVALS_MISSED, FAILURES

Kind: TypeAlias = Literal["user", "upload", "view", "comment", "flag"]
KINDS: Final[tuple[Kind, ...]] = ("user", "upload", "view", "comment", "flag")


@dataclass
class Statistics:
    """Counts of actions since the start.

    Attributes:
        done: accepted actions by kind.
        errors: actions that failed.
        skipped: arrivals without a possible target, such as a view before the first image.
        late: arrivals whose action started more than a second late.
        dropped: arrivals dropped because too many actions were in flight.
    """

    done: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    errors: int = 0
    skipped: int = 0
    late: int = 0
    dropped: int = 0

    def succeeded(self, kind: Kind) -> None:
        """Count an accepted action."""
        self.done[kind] += 1
        ACTIONS.labels(kind).inc()

    def error(self) -> None:
        """Count a failed action."""
        self.errors += 1
        FAILURES.inc()

    def arrival_late(self) -> None:
        """Count an arrival whose action started late."""
        self.late += 1
        ARRIVALS_MISSED.labels("late").inc()

    def arrival_dropped(self) -> None:
        """Count an arrival without an action."""
        self.dropped += 1
        ARRIVALS_MISSED.labels("dropped").inc()

    @property
    def total(self) -> int:
        """Accepted actions of all kinds."""
        return sum(self.done.values())

    def summary(self) -> str:
        """One line of counts: users, uploads, views, comments, flags, errors; rare counts only when above 0."""
        counts = {f"{kind}s": count for kind, count in self.done.items()} | {"errors": self.errors}
        rare = {"skipped": self.skipped, "late": self.late, "dropped": self.dropped}
        counts |= {name: count for name, count in rare.items() if count}
        return ", ".join(f"{name}={count}" for name, count in counts.items())
