"""Jupyter in the local stack: the notebooks of the lab, with the addresses of the stack's servers."""

import importlib.util
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gourmetgram.files import replace_file
from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.minio import answers
from gourmetgram_tools.local.progress import StepReport

JUPYTER: Final = "jupyter"

WORKSPACE: Final = PROJECT_ROOT / "model_training" / "workspace"
"""Folder of the notebooks. As in the lab, these are the checkout's own files: `down --wipe` does not delete edits."""


class Jupyter(Component):
    """The notebook server as a part of the stack.

    Jupyter runs any code for the owner of its token, so it listens on the loopback address, whatever the stack's host.

    Args:
        layout: paths of the stack.
        port: port of the pages.
        environment: variables that notebooks read.
    """

    name = JUPYTER
    title = "Jupyter"

    def __init__(self, layout: Layout, port: int, environment: Mapping[str, str]) -> None:
        self._home = layout.folder / JUPYTER
        self._port = port
        self._environment = environment

    @property
    def ports(self) -> Mapping[str, int]:
        """Port of the pages."""
        return {"Jupyter": self._port}

    def obtain(self, report: StepReport) -> None:
        """Check that Jupyter is installed; `make setup` installs it.

        Raises:
            StackError: Jupyter is not installed.
        """
        if importlib.util.find_spec("notebook") is None:
            raise StackError("Jupyter is not installed in this environment: run `make setup`, then try again.")

    def program(self) -> Program:
        """The server; it ends its kernels when it stops."""
        folders = {f"JUPYTER_{kind}_DIR": str(self._home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
        search = os.pathsep.join((str(Path(sys.executable).parent), process_environment().get("PATH", os.defpath)))
        return Program(
            # Notebook and not Lab: its start page, /tree, is the address that the lab's text names.
            command=(sys.executable, "-m", "notebook", *self._arguments()),
            directory=WORKSPACE,
            environment={
                **self._environment,
                **folders,
                "JUPYTER_TOKEN": token(self._home),
                "PATH": search,
                "PYTHONUNBUFFERED": "1",
            },
            # The server waits for its kernels, which have process groups of their own.
            stop_group=False,
        )

    def _arguments(self) -> tuple[str, ...]:
        as_root = ("--allow-root",) if os.geteuid() == 0 else ()
        # Without retries, a taken port is an error: `links` names one port only.
        return (f"--ip={self.host}", f"--port={self._port}", "--port-retries=0", "--no-browser", *as_root)

    def healthy(self) -> bool:
        """Probe the page that needs no token."""
        return answers(f"http://{self.host}:{self._port}/api")


def token(home: Path) -> str:
    """Token of the pages, made once per stack and readable by its owner only.

    Args:
        home: folder of Jupyter in the stack's folder.
    """
    path = home / "token"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        replace_file(path, secrets.token_hex(24), mode=0o600)
    return path.read_text(encoding="utf-8").strip()
