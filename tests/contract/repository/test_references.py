"""References in docstrings, comments and documents lead somewhere: files, arguments, numbered rules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gourmetgram.settings import PROJECT_ROOT
from tests.support.sources import Prose, comments, docstrings, parse, source_files, tracked_files

_FILE = re.compile(r"(?<![\w/.*{<-])((?:[\w.-]+/)*[\w-]+\.(?:py|lua|sql|md|yaml|ipynb|sh|j2|toml))\b(?![/*{(])")
_RULE = re.compile(r"\brules? (\d+)(?: and (\d+))? of docs/rules\.md")
MADE_AT_RUN_TIME = {
    ".rehearsal/report.md",
    "versions/revision_0005.py",
    "verify_pipeline.py",
    "start-notebook.sh",
    "query.sql",
}
"""Names of files that exist in a container or are written by a program."""


def _texts(path: Path) -> Iterator[Prose]:
    if path.suffix == ".py":
        yield from docstrings(path)
        yield from comments(path)
    else:
        for number, line in enumerate((PROJECT_ROOT / path).read_text().splitlines(), 1):
            yield Prose(f"{path}:{number}", line)


def _all_texts() -> Iterator[tuple[Path, Prose]]:
    for path in tracked_files("*.py", "*.md", "*.lua"):
        for prose in _texts(path):
            yield path, prose


def _exists(name: str, path: Path, known: set[str]) -> bool:
    return (
        name in MADE_AT_RUN_TIME
        or (PROJECT_ROOT / name).exists()
        or any((PROJECT_ROOT / folder / name).exists() for folder in path.parents)
        or ("/" not in name and name in known)
    )


def test_every_file_that_a_text_names_exists() -> None:
    known = {path.name for path in tracked_files()}
    missing = [
        f"{prose.where}: {name}"
        for path, prose in _all_texts()
        for name in _FILE.findall(prose.text)
        if not _exists(name, path, known)
    ]
    assert missing == []


def test_every_rule_that_a_text_cites_exists() -> None:
    rules = set(re.findall(r"^(\d+)\. ", (PROJECT_ROOT / "docs" / "rules.md").read_text(), re.MULTILINE))
    texts = [prose for _, prose in _all_texts()]
    cited = [
        (prose.where, number) for prose in texts for pair in _RULE.findall(prose.text) for number in pair if number
    ]
    assert [each for each in cited if each[1] not in rules] == []
    assert cited


def _arguments(node: ast.AST) -> set[str] | None:
    """Names that an `Args:` section of this node may list; None where any may stand."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        spec = node.args
        named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
        return {argument.arg for argument in named}
    assert isinstance(node, ast.ClassDef)
    init = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    return None if init is None else _arguments(init)


def _documented(text: str) -> list[str]:
    """Names in the `Args:` section of a docstring."""
    section = re.search(r"^( *)Args:\n((?:\1    .*\n|\n)+)", text + "\n", re.MULTILINE)
    if section is None:
        return []
    indent = len(section[1]) + 4
    lines = [line[indent:] for line in section[2].splitlines()]
    return [name for line in lines for name in re.findall(r"^\*{0,2}(\w+)(?: \([^)]*\))?:", line)]


def test_every_documented_argument_exists() -> None:
    wrong = []
    for path in source_files():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                known = _arguments(node)
                named = _documented(ast.get_docstring(node) or "")
                wrong += [f"{path} {node.name}: {name}" for name in named if known is not None and name not in known]
    assert wrong == []
