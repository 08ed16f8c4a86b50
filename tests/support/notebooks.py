"""Execution of the lab's notebooks. Import it late: a dependency of nbformat compiles a grammar for six seconds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from gourmetgram.settings import process_environment

__all__ = ["CellExecutionError", "execute", "printed"]


def execute(notebook: Path, folder: Path, environment: Mapping[str, str]) -> list[Any]:
    """Run all cells in a fresh kernel.

    Args:
        notebook: the file, which stays as it is.
        folder: where the kernel works.
        environment: variables besides this process's own.

    Returns:
        All cells' outputs in their order.

    Raises:
        CellExecutionError: a cell failed.
    """
    content = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(content, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env={**process_environment(), **environment})
    return [output for cell in content.cells for output in cell.get("outputs", ())]


def printed(outputs: list[Any]) -> str:
    """What cells wrote to their standard output."""
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")
