"""The command `gourmetgram` as Markdown, from the help texts of its subcommands."""

import re
from typing import Final

import typer
from typer.cli import get_docs_for_click

from gourmetgram_tools.cli.main import app

NAME: Final = "gourmetgram"

_HEADING: Final = re.compile(r"^#+ (?=`)", re.MULTILINE)
_USAGE: Final = re.compile(r"```console\n\$ (.*?)\n```", re.DOTALL)
_COMMANDS: Final = re.compile(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+")
_LABEL: Final = re.compile(r"^\*\*(Usage|Options|Arguments)\*\*:$", re.MULTILINE)


def page() -> str:
    """List of all commands, then one section for each with its arguments and options."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name=NAME), name=NAME)
    # The list below has no shortened sentences; all sections stand on one level below the page's title.
    text = _HEADING.sub("## ", _COMMANDS.sub("", text))
    return _overview(command) + "\n\n" + _LABEL.sub(r"**\1**", _USAGE.sub(r"```text\n\1\n```", text))


def _overview(command: object) -> str:
    rows = [f"| `{NAME} {name}` | {sentence} |" for name, sentence in _purposes(command, "")]
    return "\n".join(["| Command | Purpose |", "|---|---|", *rows])


def _purposes(command: object, prefix: str) -> list[tuple[str, str]]:
    """Name and first paragraph of the help of each command below a group."""
    found = []
    for name, each in getattr(command, "commands", {}).items():
        found.append((prefix + name, " ".join(each.help.partition("\n\n")[0].split())))
        found += _purposes(each, f"{prefix}{name} ")
    return found
