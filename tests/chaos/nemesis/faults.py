"""Faults: what the nemesis does to a stack, and how it takes it back."""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tests.chaos.nemesis.arena import PARTS, SERVICES, Arena
from tests.chaos.nemesis.links import LINKED

_JUMP_S: Final = 5_400
"""Jump of a clock: longer than the longest window and than the time after which an event is late."""


@dataclass(frozen=True)
class Fault:
    """One fault on one part.

    Attributes:
        kind: its kind, a key of `KINDS`.
        part: name of the part.
        seconds: time from its begin until all faults are taken back, at least.
    """

    kind: str
    part: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind} {self.part} {self.seconds:.1f} s"

    @property
    def is_loss(self) -> bool:
        """True when it takes answered writes or their events away, which the checker must know exactly."""
        return self.kind == "set back" or (self.kind, self.part) == ("restore", "postgres")

    def begin(self, arena: Arena) -> None:
        """Do it."""
        KINDS[self.kind].begin(arena, self.part)


@dataclass(frozen=True)
class FaultKind:
    """A kind of faults.

    Attributes:
        begin: does it to a part of an arena.
        parts: parts to which it can be done.
        possible: whether it can be done in an arena.
    """

    begin: Callable[[Arena, str], None]
    parts: tuple[str, ...] = PARTS
    possible: Callable[[Arena], bool] = lambda _arena: True


def _kill_twice(arena: Arena, part: str) -> None:
    """A second kill right after the recovery from the first one."""
    arena.stack.kill(part)
    arena.stack.wait_healthy(part)
    arena.stack.kill(part)


def _restore(arena: Arena, part: str) -> None:
    """Start a server with its files of the round before, or of a few minutes ago."""
    if part == "redis":
        arena.restore_redis()
    else:
        arena.restore_postgres()


KINDS: Final[Mapping[str, FaultKind]] = {
    "kill": FaultKind(lambda arena, part: arena.stack.kill(part)),
    "kill twice": FaultKind(_kill_twice),
    "stop": FaultKind(lambda arena, part: arena.stack.stop(part)),
    "pause": FaultKind(lambda arena, part: arena.stack.pause(part)),
    "cut": FaultKind(lambda arena, server: arena.links.cut(server), LINKED),
    "silence": FaultKind(lambda arena, server: arena.links.silence(server), LINKED),
    "slow": FaultKind(lambda arena, server: arena.links.slow(server), LINKED),
    "clock ahead": FaultKind(lambda arena, part: arena.clocks.jump(part, _JUMP_S), SERVICES, Arena.has_clocks),
    "clock behind": FaultKind(lambda arena, part: arena.clocks.jump(part, -_JUMP_S), SERVICES, Arena.has_clocks),
    "restore": FaultKind(_restore, ("redis", "postgres"), Arena.has_copies),
    "set back": FaultKind(lambda arena, _part: arena.set_log_back(), ("kafka",), Arena.has_copies),
    "fill": FaultKind(lambda arena, _part: arena.fill_disk(), ("disk",), Arena.has_disk),
}


def draw(choose: random.Random, arena: Arena, kinds: Collection[str]) -> tuple[Fault, ...]:
    """Draw the faults of a round: one, or two at the same time on different parts; a loss of answered writes is alone.

    Args:
        choose: makes the choices.
        arena: the arena of the round.
        kinds: kinds to draw from, keys of `KINDS`; those that are not possible yet are left out.
    """
    possible = [kind for kind in kinds if KINDS[kind].possible(arena)] or ["kill"]
    drawn: dict[str, Fault] = {}
    for _ in range(choose.choice((1, 1, 2))):
        kind = choose.choice(possible)
        part = choose.choice(KINDS[kind].parts)
        fault = Fault(kind, part, choose.uniform(0.5, 6.0))
        if fault.is_loss:
            return (fault,)
        drawn.setdefault(part, fault)
    return tuple(drawn.values())
