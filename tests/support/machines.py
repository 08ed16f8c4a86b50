"""Bounds of state machines, and interruptions of a program at a chosen point of its work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from hypothesis import HealthCheck, settings

from tests.support.lakehouse_platform import Killed

MANY: Final = settings.get_current_profile_name() == "many"
TIMEOUT_S: Final = 3_600 if MANY else 600

_MORE: Final = 20
"""Factor of the examples in the profile `many`."""


def machine_settings(examples: int, steps: int) -> settings:
    """Settings of a state machine: the same examples in each run, or many new ones with the profile `many`.

    Args:
        examples: number of examples of a normal run.
        steps: most rules in an example.
    """
    return settings(
        max_examples=examples * (_MORE if MANY else 1),
        stateful_step_count=steps,
        derandomize=not MANY,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Interruption:
    """Does something once, when a program reaches a point of its work.

    The program's ways to its servers call `reach`. After a crash each of them raises: a dead process cleans up nothing.
    """

    def __init__(self) -> None:
        self._point: str | None = None
        self._act: Callable[[], None] | None = None
        self._dead = False

    @contextmanager
    def at(self, point: str, act: Callable[[], None] | None = None) -> Iterator[None]:
        """Interrupt the program of the block.

        Args:
            point: its name, see `reach`.
            act: called in the middle of the program; None kills it.
        """
        self._point, self._act = point, act or self._kill
        try:
            yield
        except Killed:
            assert self._dead, "only a crash ends like this"
        finally:
            self._point, self._act, self._dead = None, None, False

    def reach(self, point: str) -> None:
        """Tell that the program is at a point; what the interruption raises goes on through the program.

        Raises:
            Killed: the program has died.
        """
        if self._dead:
            raise Killed(point)
        if point == self._point and self._act is not None:
            act, self._act = self._act, None
            act()

    def _kill(self) -> None:
        self._dead = True
        raise Killed(self._point)
