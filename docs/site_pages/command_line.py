"""The command `gourmetgram` as Markdown, from the help texts of its subcommands."""

import re
from typing import Final

import typer
from typer.cli import get_docs_for_click

from gourmetgram_tools.cli.main import app

NAME: Final = "gourmetgram"
_HEADING: Final = re.compile(r"^#+ (?=`)", re.MULTILINE)
_USAGE: Final = re.compile(r"```console\n\$ (.*?)\n```", re.DOTALL)


def page() -> str:
    """One section for the command, and one for each subcommand with its arguments and options."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name=NAME), name=NAME)
    # The page has a title of its own; all commands stand on one level below it.
    text = _HEADING.sub("## ", text)
    return _USAGE.sub(r"```text\n\1\n```", text)
