"""Output of results: JSON for programs, at most 100 columns for people."""

from typing import Any, Final

import orjson
import typer
from rich.console import Console

WIDTH: Final = 100


def page() -> Console:
    """A console of at most 100 columns; without a terminal exactly as wide, so that logs look like screens."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(WIDTH, console.width) if console.is_terminal else WIDTH)


def print_json(document: Any) -> None:  # noqa: ANN401 - any JSON
    """Print one JSON document, and nothing else, to standard output."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    typer.echo(orjson.dumps(document, option=options).decode())
