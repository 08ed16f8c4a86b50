"""A student at Chameleon's Jupyter: a home folder, a key, credentials, and the lab's notebooks."""

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped]
import nbformat
import paramiko  # type: ignore[import-untyped]
from nbclient import NotebookClient

from gourmetgram.settings import PROJECT_ROOT, process_environment
from tests.cloud.ssh import Machine
from tests.cloud.state import SITE, Cloud

SOURCES = PROJECT_ROOT / "chameleon" / "source"


def notebook(name: str) -> Any:
    """Notebook made from its source, without outputs."""
    return jupytext.read(SOURCES / f"{name}.md", fmt="md:myst")


def code_cells(name: str) -> list[str]:
    return [cell.source for cell in notebook(name).cells if cell.cell_type == "code"]


@dataclass
class Student:
    """One person of the project."""

    name: str
    home: Path
    cloud: Cloud
    machine: Machine

    def __post_init__(self) -> None:
        """Home folder with the key of Jupyter, and with the two diversions from the real cloud to the stand-in."""
        startup = self.home / ".ipython" / "profile_default" / "startup" / "00-cloud.py"
        for folder in (startup.parent, self.home / ".ssh"):
            folder.mkdir(parents=True)
        startup.write_text(
            textwrap.dedent(f"""\
                import socket
                from chi import context

                # python-chi has the address of this site in its code, and the port of SSH in a default.
                web = {self.cloud.address + "/site"!r}
                context.list_sites()[{SITE!r}]["web"] = web
                connect = socket.create_connection
                def to_machine(address, *args, **kwargs):
                    here = ("127.0.0.1", {self.machine.ssh_port})
                    return connect(here if address[1] == 22 else address, *args, **kwargs)
                socket.create_connection = to_machine
                """)
        )
        (self.home / ".ssh" / "config").write_text(
            f"Host 203.0.113.*\n  HostName 127.0.0.1\n  Port {self.machine.ssh_port}\n"
        )
        key = self.home / ".ssh" / "id_rsa"
        self.machine.key.write_private_key_file(str(key))
        key.with_suffix(".pub").write_text(f"{self.machine.key.get_name()} {self.machine.key.get_base64()}")

    @property
    def node(self) -> str:
        return f"node-data-{self.name}"

    @property
    def lease(self) -> str:
        return f"lease-data-{self.name}"

    def run(self, name: str, *, repeats: int = 1, before: Callable[[int], None] | None = None) -> str:
        """Run a notebook in a fresh kernel, cell by cell.

        Args:
            name: of the source, without its suffix.
            repeats: how often each code cell is run before the next.
            before: called with the number of each code cell, from 1 on, before it is run.

        Returns:
            All that the cells printed.

        Raises:
            CellExecutionError: a cell failed.
        """
        content = notebook(name)
        code = [cell for cell in content.cells if cell.cell_type == "code"]
        content.cells = [nbformat.from_dict(dict(cell)) for cell in code for _ in range(repeats)]  # type: ignore[no-untyped-call]
        hook: dict[str, Any] = (
            {"on_cell_start": lambda cell, cell_index: before(cell_index // repeats + 1)} if before else {}
        )
        client = NotebookClient(
            content, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(self.home)}}, **hook
        )
        client.execute(env=self.environment())
        outputs = [output for cell in content.cells for output in cell.outputs]
        return "".join(output["text"] for output in outputs if output["output_type"] == "stream")

    def environment(self) -> dict[str, str]:
        """Variables that Chameleon's Jupyter gives its kernels; the password stands for its login."""
        own = {name: value for name, value in process_environment().items() if not name.startswith("OS_")}
        return {
            **own,
            "HOME": str(self.home),
            "USER": self.name,
            "IPYTHONDIR": str(self.home / ".ipython"),
            "CHI_RESOURCE_API_URL": self.cloud.address,
            "OS_REGION_NAME": SITE,
            "OS_AUTH_TYPE": "v3password",
            "OS_AUTH_URL": f"{self.cloud.address}/site:5000/v3",
            "OS_USERNAME": self.name,
            "OS_PASSWORD": "x",
            "OS_USER_DOMAIN_NAME": "default",
            "OS_PROJECT_NAME": "CHI-250000",
            "OS_PROJECT_DOMAIN_NAME": "chameleon",
            "OS_KEYPAIR_PRIVATE_KEY": str(self.home / ".ssh" / "id_rsa"),
            "OS_KEYPAIR_PUBLIC_KEY": str(self.home / ".ssh" / "id_rsa.pub"),
        }


def new_key() -> paramiko.PKey:
    return paramiko.RSAKey.generate(2048)


def plain(text: str) -> str:
    """Text of an error without the colours of the terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
