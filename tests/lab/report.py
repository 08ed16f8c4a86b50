"""The report of a rehearsal, as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.standins.catalogue import NOT_REHEARSED
from tests.lab.standins.images import LabImage
from tests.lab.steps import Result

_LONGEST_CELL = 700
_MARKS = {True: "pass", False: "**FAIL**", None: "not tried"}


@dataclass
class Rehearsed:
    """Findings of a rehearsal.

    Attributes:
        revision: of the checkout.
        engine: versions of Docker.
        images: with sizes and origins.
        results: of the steps.
        memory: of each running container at the end of the walk: name and text.
    """

    revision: str
    engine: str
    images: list[LabImage] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    memory: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True when every step showed its sight."""
        return all(result.passed for result in self.results)


def write(rehearsed: Rehearsed, path: Path) -> None:
    """Write the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(rehearsed), encoding="utf-8")


def render(rehearsed: Rehearsed) -> str:
    """Text of the report."""
    results = rehearsed.results
    parts = [
        "# Rehearsal of the Compose lab",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, revision {rehearsed.revision}, {rehearsed.engine}. "
        f"**{sum(result.passed is True for result in results)} of {len(results)} steps passed**, "
        f"{sum(result.seconds for result in results):.0f} s. `DC` = `docker compose -f docker/docker-compose.yaml`. "
        f"Not rehearsed, as no package registry has parts for their images: {', '.join(NOT_REHEARSED.values())}.",
    ]
    for title in dict.fromkeys(result.stage for result in results):
        stage = [result for result in results if result.stage == title]
        parts += [f"## Stage {title} ({sum(result.seconds for result in stage):.0f} s)", _steps(stage)]
    images = [(image.name, str(image.megabytes), image.made_of) for image in rehearsed.images]
    parts += ["## Images", _table(("Image", "MB", "Origin"), images)]
    parts += ["## Memory at the end", _table(("Container", "Memory"), rehearsed.memory)]
    return "\n\n".join(parts) + "\n"


def _steps(results: Sequence[Result]) -> str:
    rows = [
        (f"`{result.step.command}`", result.step.expected, result.seen, f"{result.seconds:.1f}", _MARKS[result.passed])
        for result in results
    ]
    return _table(("Command or page", "Must be seen", "Seen", "s", ""), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(text: str) -> str:
    short = text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL] + " …"
    return short.replace("|", "\\|").replace("\n", "<br>")
