"""A running kernel that several notebooks use one after the other: the import of python-chi takes seconds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.support.notebooks import printed

_DIVERSION = """\
import os, socket

# The port of SSH is a default in python-chi's code.
def to_machine(address, *args, connect=socket.create_connection, environ=os.environ, **kwargs):
    here = ("127.0.0.1", int(environ["SSH_PORT"]))
    return connect(here if address[1] == 22 else address, *args, **kwargs)

socket.create_connection = to_machine
"""

BeforeCell = Callable[[int], None]


class Kernel:
    """Kernel that runs cells; `started` makes one."""

    def __init__(self, client: NotebookClient) -> None:
        self.client = client

    def forget(self, cell: str) -> None:
        """Clear all variables of the user, then run a cell that no notebook has."""
        self.run([f"%reset -f\n{cell}"])

    def run(self, cells: list[str], before: BeforeCell | None = None) -> str:
        """Run cells in their order.

        Args:
            cells: their sources.
            before: called with the number of each cell, from 1 on, before it is run.

        Returns:
            All that the cells printed.

        Raises:
            CellExecutionError: a cell failed.
        """
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
        self.client.nb = content
        for index, cell in enumerate(content.cells):
            if before is not None:
                before(index + 1)
            self.client.execute_cell(cell, index)
        return printed([output for cell in content.cells for output in cell.outputs])


@contextmanager
def started(folder: Path, environment: Mapping[str, str]) -> Iterator[Kernel]:
    """Start a kernel whose settings are in a folder, and stop it at the end."""
    startup = folder / "profile_default" / "startup" / "00-ssh.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(_DIVERSION)
    empty: Any = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    client = NotebookClient(empty, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(env={**environment, "IPYTHONDIR": str(folder)}):
        assert client.kc is not None
        _look_every_second(client.kc.shell_channel)
        yield Kernel(client)


def _look_every_second(channel: Any) -> None:
    """Look for an answer each second: on a busy machine, pyzmq misses some until the timeout has passed."""
    wait = channel.get_msg

    async def get_msg(timeout: float) -> Any:  # noqa: ASYNC109 - signature of the library
        end = monotonic() + timeout
        while True:
            left = end - monotonic()
            try:
                return await wait(timeout=min(1.0, max(0.0, left)))
            except Empty:
                if left <= 0:
                    raise

    channel.get_msg = get_msg
