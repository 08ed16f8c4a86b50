"""Commands and queries of the lab's notebooks: the rehearsal runs them as they stand there."""

import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final

from gourmetgram.settings import PROJECT_ROOT
from tests.lab.expectations import RehearsalError
from tests.lab.places import CHECKOUT

ON_THE_MACHINE: Final = "# run on node-data"
"""First line of a block that is typed on the virtual machine."""
VM_CHECKOUT: Final = "/home/cc/data-platform-chi"
"""Checkout on the virtual machine, as the lab's text names it."""
COMPOSE: Final = f"docker compose -f {VM_CHECKOUT}/docker/docker-compose.yaml "
IN_DOCKER: Final = "docker compose "
"""Beginning of a call of Compose that is typed in `docker/`."""
_BLOCK: Final = re.compile(r"^```(?P<language>bash|sql)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Typed:
    """Command of a notebook, on one line.

    Attributes:
        text: as typed; a line that a backslash continues is joined.
    """

    text: str

    @property
    def short(self) -> str:
        """Command with `DC` for the call of Compose."""
        return self.text.replace(COMPOSE, "DC ")

    @property
    def compose(self) -> str:
        """Arguments of Compose: all that follows the name of its file.

        Raises:
            RehearsalError: the command is no call of Compose.
        """
        for beginning in (COMPOSE, IN_DOCKER):
            if self.text.startswith(beginning):
                return self.text.removeprefix(beginning)
        raise RehearsalError(f"`{self.text}` is no `{COMPOSE}…`.")

    @property
    def words(self) -> list[str]:
        """Words of the command."""
        return shlex.split(self.text)

    @property
    def here(self) -> str:
        """Command for this machine: in the rehearsal's copy, and a log is read once instead of followed."""
        return self.text.replace(VM_CHECKOUT, str(CHECKOUT)).replace("docker logs -f ", "docker logs ")

    @property
    def variables(self) -> dict[str, str]:
        """Values of the options `-e NAME=VALUE`."""
        values = (value for option, value in pairwise(self.words) if option == "-e")
        return dict(value.split("=", 1) for value in values)


@dataclass(frozen=True)
class Notebook:
    """Blocks of a notebook.

    Attributes:
        name: name of its file without the ending.
        commands: those that are typed on the virtual machine, in order.
        queries: SQL of the text, each on one line.
    """

    name: str
    commands: tuple[Typed, ...]
    queries: tuple[str, ...]

    def command(self, words: str) -> Typed:
        """The first command that ends with these words.

        Raises:
            RehearsalError: the notebook has no such command.
        """
        for command in self.commands:
            if command.text.endswith(words):
                return command
        raise RehearsalError(f"The text {self.name} has no command that ends with `{words}`.")

    def query(self, table: str) -> str:
        """The first query on a table.

        Raises:
            RehearsalError: the notebook has no such query.
        """
        for query in self.queries:
            if re.search(rf"\bFROM {table}\b", query):
                return query
        raise RehearsalError(f"The text {self.name} has no query on {table}.")


def compose(arguments: str) -> Typed:
    """Call of Compose that stands in no notebook.

    Args:
        arguments: as typed after `DC`.
    """
    return Typed(f"{COMPOSE}{arguments}")


@cache
def notebook(name: str) -> Notebook:
    """Blocks of a notebook of the lab.

    Args:
        name: name of its file without the ending, as `2_application`.
    """
    content = json.loads((PROJECT_ROOT / "chameleon" / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "markdown"]
    return _read(name, "\n".join("".join(cell["source"]) + "\n" for cell in cells))


@cache
def page(name: str) -> Notebook:
    """Blocks of a page of the lab that has no notebook.

    Args:
        name: name of its source without the ending, as `extended`.
    """
    return _read(name, (PROJECT_ROOT / "chameleon" / "source" / f"{name}.md").read_text(encoding="utf-8"))


def _read(name: str, text: str) -> Notebook:
    commands: list[Typed] = []
    queries = []
    for block in _BLOCK.finditer(text):
        if block["language"] == "sql":
            queries.append(" ".join(block["body"].split()).removesuffix(";"))
        elif block["body"].startswith(ON_THE_MACHINE):
            lines = re.sub(r"\s*\\\n\s*", " ", block["body"]).splitlines()[1:]
            commands += [Typed(line.strip()) for line in lines if line.strip()]
    return Notebook(name, tuple(commands), tuple(queries))
