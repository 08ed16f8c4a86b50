"""Steps that several stages share."""

from collections.abc import Callable, Sequence

from tests.lab import waiting
from tests.lab.errors import expect
from tests.lab.lab import Lab
from tests.lab.steps import Step


def up(words: str, healthy: Sequence[str] = (), done: Sequence[str] = (), deadline_s: float = 240) -> Step:
    """`DC up -d …`: the named services become healthy, one-shots end with code 0.

    Args:
        words: what follows `DC up -d`.
        healthy: services that must run and be healthy (or run, without a health check).
        done: one-shot services that must have ended with code 0.
        deadline_s: seconds for all of it.
    """

    def see(lab: Lab) -> str:
        lab.do(f"up -d {words}", timeout=deadline_s)
        left_out = [name for name in healthy if not lab.has_image(name)]
        parts = [lab.wait_done(name, deadline_s) for name in done]
        parts.append(lab.wait_healthy(healthy, deadline_s))
        if left_out:
            parts.append(f"not rehearsed, as their images cannot be had: {', '.join(left_out)}")
        return "; ".join(filter(None, parts))

    expected = "; ".join(
        text
        for text in (
            f"healthy or running: {', '.join(healthy)}" if healthy else "",
            f"exit code 0: {', '.join(done)}" if done else "",
        )
        if text
    )
    return Step(f"DC up -d {words}", expected, see, needed=True)


def stop(service: str) -> Step:
    """`DC stop …`: the container ends with code 0 within the time that Compose gives it."""

    def see(lab: Lab) -> str:
        answer = lab.compose(f"stop {service}")
        expect(answer.code == 0, answer.tail)
        expect(lab.state(service) == "exited 0", f"{service} is {lab.state(service)}")
        expect(answer.seconds < 8, f"stopping took {answer.seconds:.1f} s")
        return f"exited 0 after {answer.seconds:.1f} s"

    return Step(f"DC stop {service}", "exit code 0 within 5 s of SIGTERM", see, needed=True)


def log_lines(service: str, container: str, expected: str, pieces: Sequence[str], deadline_s: float = 90) -> Step:
    """`docker logs -f …`: lines with the given pieces appear."""
    return Step(f"docker logs -f {container}", expected, lambda lab: lab.wait_log(service, pieces, deadline_s))


def growing(look: Callable[[Lab], dict[str, int]], names: Sequence[str], deadline_s: float) -> Callable[[Lab], str]:
    """A sight: each named count becomes larger than it was at first."""

    def see(lab: Lab) -> str:
        first = look(lab)

        def grown() -> str:
            now = look(lab)
            still = [name for name in names if now[name] <= first[name]]
            expect(not still, f"no growth of {', '.join(still)} (at { ({name: now[name] for name in still}) })")
            return ", ".join(f"{name} {first[name]} -> {now[name]}" for name in names)

        return waiting.until(grown, deadline_s)

    return see
