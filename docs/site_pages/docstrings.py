"""Adaptation of docstrings: they write code between single backticks, as Markdown does."""

import re
from typing import Final

from sphinx.application import Sphinx

_CODE: Final = re.compile(r"(?<![`:\w])`((?:[^`\n]|\n(?!\s*\n))+)`(?![`_])")


def adapt(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Change the lines of a docstring in place (autodoc's event `autodoc-process-docstring`)."""
    lines[:] = with_literals("\n".join(lines)).split("\n")


def with_literals(text: str) -> str:
    """Write each piece of code between double backticks: backslashes and stars in it are then plain characters."""
    return _CODE.sub(r"``\1``", text)
