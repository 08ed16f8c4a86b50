"""Adaptation of docstrings: they write code between single backticks, as Markdown does."""

import re
from typing import Final

from sphinx.application import Sphinx

_CODE: Final = re.compile(r"(?<![`:\w])`((?:[^`\n]|\n(?!\s*\n))+)`(?![`_])")


_TYPE: Final = ":type: "
"""Field in which napoleon puts the words before the first colon of an attribute's docstring."""


def before_napoleon(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Mark code in the lines of a docstring, before napoleon looks for types (`autodoc-process-docstring`)."""
    lines[:] = with_literals("\n".join(lines)).split("\n")


def after_napoleon(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Correct what napoleon takes for a type (`autodoc-process-docstring`)."""
    lines[:] = without_type(lines)


def without_type(lines: list[str]) -> list[str]:
    """Give an attribute's docstring its first words back: types stand in annotations only."""
    types = [line for line in lines if line.startswith(_TYPE)]
    if not types:
        return lines
    rest = [line for line in lines if line not in types]
    return [f"{types[0].removeprefix(_TYPE)}: {rest[0]}", *rest[1:]]


def with_literals(text: str) -> str:
    """Write each piece of code between double backticks: backslashes and stars in it are then plain characters."""
    return _CODE.sub(r"``\1``", text)
