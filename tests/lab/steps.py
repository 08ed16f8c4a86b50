"""Steps of the student path, their results, and the kinds of steps that several stages share."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gourmetgram.errors import PlatformError
from tests.lab.book import Typed
from tests.lab.commands import run
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab


@dataclass(frozen=True)
class LabStep:
    """One action of a student and its sight.

    Attributes:
        command: as in the lab's text; a page's address when the step is a look.
        expected: the promised sight.
        see: acts, and returns what was seen.
        needed: True when the stages after it make no sense without it.
        typed: commands of a notebook that this step runs.
    """

    command: str
    expected: str
    see: Callable[[Lab], str]
    needed: bool = False
    typed: tuple[Typed, ...] = ()


@dataclass(frozen=True)
class Stage:
    """Stage of the lab; `key` names it on the command line."""

    key: str
    title: str
    steps: tuple[LabStep, ...]


@dataclass(frozen=True)
class Result:
    """Outcome of a step. `passed` is None for a step that was not tried."""

    stage: str
    step: LabStep
    passed: bool | None
    seen: str
    seconds: float


def walk(stages: Iterable[Stage], lab: Lab, report: Callable[[Result], None]) -> list[Result]:
    """Do every step in order; after a failed needed step, the rest is not tried.

    Args:
        stages: the path.
        lab: the platform.
        report: called with each result at once.
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
            report(result)
    return results


def _try(stage: Stage, step: LabStep, lab: Lab) -> Result:
    started = time.monotonic()
    try:
        seen, passed = step.see(lab), True
    except PlatformError as error:
        seen, passed = str(error), False
    except Exception as error:  # noqa: BLE001 - the outermost loop: one broken look must not hide the other results
        seen, passed = f"{type(error).__name__}: {error}", False
    return Result(stage.title, step, passed, seen, time.monotonic() - started)


def up(command: Typed, healthy: Sequence[str] = (), done: Sequence[str] = (), deadline_s: float = 240) -> LabStep:
    """`DC up -d …`: the named services become healthy, one-shots end with code 0.

    Args:
        command: call of Compose.
        healthy: services that must run and be healthy (or run, without a health check).
        done: one-shot services that must have ended with code 0.
        deadline_s: seconds for all of it.
    """

    def see(lab: Lab) -> str:
        lab.do(command.compose, timeout=deadline_s)
        left_out = [name for name in healthy if not lab.has_image(name)]
        parts = [*(lab.wait_done(name, deadline_s) for name in done), lab.wait_healthy(healthy, deadline_s)]
        parts.append(f"not rehearsed, as their images cannot be had: {', '.join(left_out)}" if left_out else "")
        return "; ".join(filter(None, parts))

    expected = (f"{state}: {', '.join(names)}" for state, names in (("healthy", healthy), ("code 0", done)) if names)
    return LabStep(command.short, "; ".join(expected), see, needed=True, typed=(command,))


def stop(command: Typed) -> LabStep:
    """`DC stop …`: the container ends with code 0 within the time that Compose gives it."""
    service = command.words[-1]

    def see(lab: Lab) -> str:
        ended = lab.compose(command.compose).must_succeed()
        expect(lab.state(service) == "exited 0", f"{service} is {lab.state(service)}")
        expect(ended.seconds < 8, f"stopping took {ended.seconds:.1f} s")
        return f"exited 0 after {ended.seconds:.1f} s"

    return LabStep(command.short, "exit code 0 within 5 s of SIGTERM", see, needed=True, typed=(command,))


def shell(lab: Lab, command: Typed, *, stdout_only: bool = False) -> str:
    """Run a command of a notebook in a shell; return its output, with or without standard error.

    Raises:
        NotSeenError: the command failed.
    """
    ended = run("bash", "-c", command.here).must_succeed()
    return ended.stdout if stdout_only else ended.output


def listed(command: Typed, services: Sequence[str]) -> LabStep:
    """`docker ps`: a line with the state Up for the container of each service."""

    def see(lab: Lab) -> str:
        lines = shell(lab, command).splitlines()
        names = [lab.container(service) for service in services if lab.has_image(service)]
        missing = [name for name in names if not any(line.split()[-1] == name and " Up " in line for line in lines)]
        expect(not missing, f"not up: {missing}")
        return f"up: {', '.join(names)}"

    return LabStep(command.short, f"up: {', '.join(services)}", see, typed=(command,))


def logged(command: Typed, service: str, pieces: Sequence[str], deadline_s: float) -> LabStep:
    """`docker logs …`: each piece comes to stand in a line of the service's log."""

    def see(lab: Lab) -> str:
        expect(command.words[-1] == lab.container(service), f"`{command.text}` shows another container than {service}")
        return lab.wait_log(service, pieces, deadline_s)

    return LabStep(command.short, f"lines with {', '.join(pieces)}", see, typed=(command,))


def growing(look: Callable[[Lab], dict[str, int]], names: Sequence[str], deadline_s: float) -> Callable[[Lab], str]:
    """A sight: each named count becomes larger than it was at first."""

    def see(lab: Lab) -> str:
        first = look(lab)

        def probe() -> str:
            now = look(lab)
            still = {name: now[name] for name in names if now[name] <= first[name]}
            expect(not still, f"no growth of {still}")
            return ", ".join(f"{name} {first[name]} -> {now[name]}" for name in names)

        return until(probe, deadline_s)

    return see
