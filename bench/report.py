"""Rows of the report, printed as Markdown and written into docs/performance.md."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gourmetgram.settings import PROJECT_ROOT

PERFORMANCE_PAGE: Final = PROJECT_ROOT / "docs" / "performance.md"


@dataclass(frozen=True)
class Row:
    """One measured figure beside the limit of the same run.

    Attributes:
        work: what was done.
        figure: what was measured, with its unit.
        limit: the upper bound measured in the same run, with its unit; empty when there is none.
        share: figure as a share of the limit; empty when there is none.
        target: what was to be reached.
    """

    work: str
    figure: str
    limit: str = ""
    share: str = ""
    target: str = ""


def markdown(rows: list[Row]) -> str:
    """A Markdown table of the rows."""
    lines = ["| work | measured | limit, same run | share | to reach |", "|---|---|---|---|---|"]
    lines += [f"| {row.work} | {row.figure} | {row.limit} | {row.share} | {row.target} |" for row in rows]
    return "\n".join(lines)


def write_section(name: str, text: str, page: Path = PERFORMANCE_PAGE) -> None:
    """Replace the text between the markers of a section of the page.

    Raises:
        ValueError: the page has no such section.
    """
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    content = page.read_text()
    if begin not in content or end not in content:
        raise ValueError(f"{page.name} has no section {begin} ... {end}")
    head, rest = content.split(begin, 1)
    _, tail = rest.split(end, 1)
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
