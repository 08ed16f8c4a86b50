"""The repository's own text: which files there are, and what stands in their docstrings, comments and definitions."""

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from gourmetgram.settings import PROJECT_ROOT

SOURCE_FOLDERS: Final = (
    "gourmetgram",
    "gourmetgram_tools",
    "api_v1",
    "api_v2",
    "data_generator",
    "risk_scoring_service",
    "setup_jobs",
    "stream_consumer",
    "airflow",
    "model_training",
    "scripts",
    "docs",
)
"""Folders of the platform's own code; tests and bench are not among them."""


class Prose(NamedTuple):
    """A piece of text in a Python file: `where` is `file:line`."""

    where: str
    text: str


def tracked_files(*patterns: str) -> list[Path]:
    """Files that git knows and that exist, sorted, as paths relative to the repository's root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return sorted(Path(name) for name in listed if (PROJECT_ROOT / name).exists())


def source_files() -> list[Path]:
    """Python files of the platform's own code."""
    return [path for path in tracked_files("*.py") if path.parts[0] in SOURCE_FOLDERS]


def parse(path: Path) -> ast.Module:
    """Syntax tree of a file, named relative to the repository's root."""
    return ast.parse((PROJECT_ROOT / path).read_text())


def docstrings(path: Path) -> Iterator[Prose]:
    """All docstrings of a file, those of attributes included."""
    for node in ast.walk(parse(path)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for statement in body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                value = statement.value.value
                if isinstance(value, str):
                    yield Prose(f"{path}:{statement.lineno}", value)


def comments(path: Path) -> Iterator[Prose]:
    """All comments of a Python file, each line by itself."""
    text = (PROJECT_ROOT / path).read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Prose(f"{path}:{token.start[0]}", token.string.lstrip("# "))
