"""A student at Chameleon's Jupyter: a home folder, a key, credentials, and the lab's notebooks."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jupytext
import paramiko  # type: ignore[import-untyped]

from chameleon.build import SOURCES
from tests.cloud.kernel import BeforeCell, Kernel
from tests.cloud.ssh import Machine
from tests.cloud.state import PROJECT, SITE, Cloud


def code_cells(name: str) -> list[str]:
    """Sources of the code cells of the notebook that is made from a source file."""
    return [cell.source for cell in jupytext.read(SOURCES / f"{name}.md", fmt="md:myst").cells if is_code(cell)]


def is_code(cell: object) -> bool:
    return getattr(cell, "cell_type", None) == "code"


@dataclass
class Student:
    """One person of the project, with a home folder that is made here."""

    name: str
    home: Path
    cloud: Cloud
    machine: Machine
    kernel: Kernel

    def __post_init__(self) -> None:
        """Home folder with the key of Jupyter; SSH to a floating IP leads to the stand-in's machine."""
        folder = self.home / ".ssh"
        folder.mkdir(parents=True)
        (folder / "config").write_text(f"Host 203.0.113.*\n  HostName 127.0.0.1\n  Port {self.machine.ssh_port}\n")
        self.machine.key.write_private_key_file(str(folder / "id_rsa"))
        (folder / "id_rsa.pub").write_text(f"{self.machine.key.get_name()} {self.machine.key.get_base64()}")

    @property
    def node(self) -> str:
        return f"node-data-{self.name}"

    @property
    def lease(self) -> str:
        return f"lease-data-{self.name}"

    def run(self, name: str, *, repeats: int = 1, before: BeforeCell | None = None) -> str:
        """Run a notebook, cell by cell, with no variable of an earlier run.

        Args:
            name: of the source, without its suffix.
            repeats: how often each code cell is run before the next.
            before: called with the number of each run of a code cell, from 1 on, before it.

        Returns:
            All that the cells printed.

        Raises:
            CellExecutionError: a cell failed.
        """
        self.kernel.forget(self._log_in())
        return self.kernel.run([cell for cell in code_cells(name) for _ in range(repeats)], before)

    def _log_in(self) -> str:
        """Cell that gives a kernel the student's variables; python-chi has the address of this site in its code."""
        return textwrap.dedent(f"""\
            import os
            os.environ.update({self._environment()!r})
            from chi import context
            context.RESOURCE_API_URL = {self.cloud.address!r}
            context.reset()
            site = next(each for each in context.requests.get({self.cloud.address!r} + "/sites.json").json()["items"])
            context.list_sites()[{SITE!r}]["web"] = site["web"]
            del os, context, site
            """)

    def _environment(self) -> dict[str, str]:
        """Variables that Chameleon's Jupyter gives its kernels; the password stands for its login."""
        ssh = self.home / ".ssh"
        values = {
            "HOME": self.home,
            "USER": self.name,
            "SSH_PORT": self.machine.ssh_port,
            "OS_REGION_NAME": SITE,
            "OS_AUTH_TYPE": "v3password",
            "OS_AUTH_URL": f"{self.cloud.address}/site:5000/v3",
            "OS_USERNAME": self.name,
            "OS_PASSWORD": "x",
            "OS_USER_DOMAIN_NAME": "default",
            "OS_PROJECT_NAME": PROJECT["name"],
            "OS_PROJECT_DOMAIN_NAME": "chameleon",
            "OS_KEYPAIR_PRIVATE_KEY": ssh / "id_rsa",
            "OS_KEYPAIR_PUBLIC_KEY": ssh / "id_rsa.pub",
        }
        return {name: str(value) for name, value in values.items()}


def new_key() -> paramiko.PKey:
    return paramiko.RSAKey.generate(2048)


def plain(text: str) -> str:
    """Text of an error without the colours of the terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
