"""Make the notebooks of the lab from their sources: `python chameleon/build.py`, or `make lab`.

A source is MyST Markdown (`chameleon/source/*.md`), which the site reads as it is. A notebook page knows plain Markdown
only. So excerpts of files are copied in, admonitions become quotations, and pictures become PNG. A source whose name
begins with no digit is a page of the site and has no notebook.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import jupytext

from gourmetgram.errors import PlatformError

FOLDER: Final = Path(__file__).resolve().parent
SOURCES: Final = FOLDER / "source"

_FENCED: Final = re.compile(r"^```\{literalinclude\} (?P<path>\S+)\n(?P<options>(?::[^\n]*\n)*)```$", re.MULTILINE)
_OPTION: Final = re.compile(r"^:(?P<name>[a-z-]+):(?: +(?P<value>.*))?$", re.MULTILINE)
_ADMONITION: Final = re.compile(
    r"^:::\{(?P<kind>[a-z]+)\}(?P<title>[^\n]*)\n(?P<body>.*?)\n:::$", re.MULTILINE | re.DOTALL
)
_PICTURE: Final = re.compile(r"\]\(\.\./\.\./images/([a-z-]+)\.svg\)")
_PAGE: Final = re.compile(r"\]\((?P<page>[0-9a-z_]+)\.md(?P<anchor>#[a-z0-9-]+)?\)")
_REPOSITORY_FILE: Final = re.compile(r"\]\(\.\./\.\./")
_FENCE: Final = re.compile(r"(`{3,})")


class StaleExcerptError(PlatformError):
    """A marker of an excerpt is not in its file any more; correct the source."""


def notebook_sources() -> list[Path]:
    """Sources that become notebooks, in the order of the lab."""
    return [path for path in sorted(SOURCES.glob("*.md")) if path.name[0].isdigit()]


def target(source: Path) -> Path:
    """Notebook of a source."""
    return FOLDER / f"{source.stem}.ipynb"


def build(source: Path) -> str:
    """Text of the notebook of a source.

    Raises:
        StaleExcerptError: a file, or a marker in it, does not exist.
    """
    cells: list[dict[str, Any]] = []
    for cell in jupytext.reads(source.read_text(encoding="utf-8"), fmt="md:myst").cells:
        if cell.cell_type == "code":
            cells.append({"cell_type": "code", "execution_count": None, "outputs": [], "source": cell.source})
        else:
            parts = _sections(plain(cell.source, source.parent))
            cells += [{"cell_type": "markdown", "source": part} for part in parts]
    for number, cell in enumerate(cells):
        # An id that is the same at each build, and unique.
        cell["id"] = hashlib.sha256(f"{source.stem}/{number}".encode()).hexdigest()[:8]
        cell["metadata"] = {}
        cell["source"] = cell["source"].splitlines(keepends=True)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    made = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def plain(text: str, folder: Path) -> str:
    """Markdown of a source as a notebook's page can show it.

    Args:
        text: Markdown with MyST directives.
        folder: folder of the source, from which paths count.

    Raises:
        StaleExcerptError: as of `build`.
    """
    text = _FENCED.sub(lambda found: _excerpt(found, folder), text)
    text = _ADMONITION.sub(_quotation, text)
    text = _PICTURE.sub(r"](../images/\1.png)", text)
    text = _PAGE.sub(_link, text)
    return _REPOSITORY_FILE.sub("](../", text)


def excerpt(path: Path, options: dict[str, str]) -> str:
    """Lines of a file between two markers, without their common indentation.

    Args:
        path: the file.
        options: `start-at` or `start-after`, `end-at` or `end-before`, as of Sphinx's literalinclude.

    Raises:
        StaleExcerptError: as of `build`.
    """
    if not path.is_file():
        raise StaleExcerptError(f"There is no file {path}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    first, last = 0, len(lines)
    if start := options.get("start-at") or options.get("start-after"):
        first = _line(path, lines, start, 0) + ("start-after" in options)
    if end := options.get("end-at") or options.get("end-before"):
        last = _line(path, lines, end, first + ("end-at" not in options)) + ("end-at" in options)
    chosen = lines[first:last]
    while chosen and not chosen[-1].strip():
        chosen.pop()
    indent = min((len(line) - len(line.lstrip()) for line in chosen if line.strip()), default=0)
    return "\n".join(line[indent:] for line in chosen)


def _line(path: Path, lines: list[str], marker: str, first: int) -> int:
    for number in range(first, len(lines)):
        if marker in lines[number]:
            return number
    raise StaleExcerptError(f"{path} has no line with {marker!r} after line {first}.")


def _excerpt(found: re.Match[str], folder: Path) -> str:
    options = {each["name"]: (each["value"] or "").strip() for each in _OPTION.finditer(found["options"])}
    return f"```{options.get('language', '')}\n{excerpt((folder / found['path']).resolve(), options)}\n```"


def _quotation(found: re.Match[str]) -> str:
    title = found["title"].strip() or found["kind"].capitalize()
    lines = [f"**{title}**", "", *found["body"].splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _link(found: re.Match[str]) -> str:
    """Link to another page of the lab: its notebook, or the source of a page that has none."""
    page, anchor = found["page"], found["anchor"] or ""
    return f"]({page}.ipynb)" if page[0].isdigit() else f"](source/{page}.md{anchor})"


def _sections(text: str) -> list[str]:
    """Parts of a text, each beginning with a heading of level 1 to 3 outside a code block."""
    parts: list[list[str]] = [[]]
    fence = ""
    for line in text.splitlines():
        if mark := _FENCE.match(line):
            fence = "" if fence == mark[1] else fence or mark[1]
        if not fence and re.match(r"#{1,3} ", line) and any(parts[-1]):
            parts.append([])
        parts[-1].append(line)
    return [part for part in ("\n".join(lines).strip() for lines in parts) if part]


def main() -> None:
    """Write the notebooks that differ from their sources."""
    argparse.ArgumentParser(description="Make the notebooks of the lab from chameleon/source.").parse_args()
    stale = []
    for source in notebook_sources():
        text, file = build(source), target(source)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(file.name)
            file.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{', '.join(stale)}: written\n" if stale else "Every notebook is up to date.\n")


if __name__ == "__main__":
    main()
