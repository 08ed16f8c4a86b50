"""Steps of the student path, and what a run of them found."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gourmetgram.errors import PlatformError
from tests.lab.lab import Lab


@dataclass(frozen=True)
class Step:
    """One thing that a student does and then sees.

    Attributes:
        command: as the lab's text has it; a page's address when the step is a look.
        expected: what must be seen.
        see: does it, and returns what was seen.
        needed: whether the stages after it make no sense without it.
    """

    command: str
    expected: str
    see: Callable[[Lab], str]
    needed: bool = False


@dataclass(frozen=True)
class Stage:
    """A stage of the lab."""

    key: str
    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Result:
    """What came of a step. `passed` is None for a step that was not tried."""

    stage: str
    step: Step
    passed: bool | None
    seen: str
    seconds: float


def walk(stages: Iterable[Stage], lab: Lab, tell: Callable[[Result], None]) -> list[Result]:
    """Do every step, in order; after a needed one failed, the rest is not tried.

    Args:
        stages: what to walk.
        lab: the platform.
        tell: told each result at once.
    """
    results: list[Result] = []
    broken = ""
    for stage in stages:
        for step in stage.steps:
            if broken:
                result = Result(stage.title, step, None, f"not tried: `{broken}` failed", 0.0)
            else:
                result = _try(stage, step, lab)
                if step.needed and not result.passed:
                    broken = step.command
            results.append(result)
            tell(result)
    return results


def _try(stage: Stage, step: Step, lab: Lab) -> Result:
    started = time.monotonic()
    try:
        seen, passed = step.see(lab), True
    except PlatformError as error:
        seen, passed = str(error), False
    except Exception as error:  # noqa: BLE001 - the outermost loop: one broken look must not hide the other results
        seen, passed = f"{type(error).__name__}: {error}", False
    return Result(stage.title, step, passed, seen, time.monotonic() - started)
