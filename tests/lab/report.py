"""The report of a rehearsal, as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.images import Image
from tests.lab.standins.catalogue import NOT_REHEARSED
from tests.lab.steps import Result

_LONGEST_CELL = 700
_MARKS = {True: "pass", False: "**FAIL**", None: "not tried"}


@dataclass
class Findings:
    """Everything that a rehearsal found out.

    Attributes:
        revision: of the checkout.
        engine: versions of Docker.
        images: with sizes and origins.
        results: of the steps.
        memory: of each running container at the end of the walk, as Docker tells it.
        checked_instead: what was checked of the services that cannot be rehearsed.
    """

    revision: str
    engine: str
    images: list[Image] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    memory: list[tuple[str, str]] = field(default_factory=list)
    checked_instead: list[Result] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every step showed what it must."""
        return all(result.passed for result in (*self.results, *self.checked_instead))


def write(findings: Findings, path: Path) -> None:
    """Write the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(findings), encoding="utf-8")


def render(findings: Findings) -> str:
    """The report's text."""
    passed = sum(result.passed is True for result in findings.results)
    seconds = sum(result.seconds for result in findings.results)
    parts = [
        "# Rehearsal of the Compose lab",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, revision {findings.revision}, {findings.engine}. "
        f"**{passed} of {len(findings.results)} steps passed**, {seconds:.0f} s.",
        "`DC` = `docker compose -f docker/docker-compose.yaml`.",
        *_stages(findings.results),
        "## Not rehearsed",
        f"No package registry has parts for these images: {', '.join(NOT_REHEARSED.values())}. "
        "Checked instead (their configuration, against their documentation):",
        _steps(findings.checked_instead),
        "## Images",
        _table(
            ("Image", "MB", "What it is"),
            [(image.name, str(image.megabytes), image.made_of) for image in findings.images],
        ),
        "## Memory at the end",
        _table(("Container", "Memory"), findings.memory),
    ]
    return "\n\n".join(parts) + "\n"


def _stages(results: Sequence[Result]) -> list[str]:
    titles = list(dict.fromkeys(result.stage for result in results))
    parts = []
    for title in titles:
        mine = [result for result in results if result.stage == title]
        parts += [f"## Stage {title} ({sum(result.seconds for result in mine):.0f} s)", _steps(mine)]
    return parts


def _steps(results: Sequence[Result]) -> str:
    rows = [
        (f"`{result.step.command}`", result.step.expected, result.seen, f"{result.seconds:.1f}", _MARKS[result.passed])
        for result in results
    ]
    return _table(("Command or page", "Must be seen", "Seen", "s", ""), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    short = text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL] + " …"
    return short.replace("|", "\\|").replace("\n", "<br>")
