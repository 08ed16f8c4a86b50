"""Run the notebooks of this folder, and store them with their outputs.

    eval "$(gourmetgram env)" && python model_training/store_outputs.py training training_large_data_demo

Addresses of the stores come from the environment. Stored outputs hold no timings, and only the last of several progress
lines that replace each other.

A cell with the tag `not-run` is stored without outputs. Under a memory limit it must kill its kernel, and the cells
below it run in a new one. Without a limit it is left out.
"""

import copy
import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from gourmetgram.errors import PermanentError
from gourmetgram.training.memory import MemoryGroup

log = logging.getLogger("store_outputs")

WORKSPACE: Final = Path(__file__).resolve().parent / "workspace"
NOT_RUN: Final = "not-run"
"""Tag of cells that kill their kernel."""

_CELL_TIMEOUT_S: Final = 600


def main() -> None:
    """Run the notebooks that the arguments name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in sys.argv[1:]:
        path = WORKSPACE / f"{name}.ipynb"
        content = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        metadata = content.metadata.copy()
        cells = [cell for cell in content.cells if cell.cell_type == "code"]
        for cell in cells:
            cell.outputs, cell.execution_count = [], None
        # A folder of its own: a model that the workspace already has is neither listed nor replaced.
        with tempfile.TemporaryDirectory() as folder:
            _run(cells, metadata, folder)
        for cell in cells:
            cell.outputs = _cleaned(cell.outputs)
        path.write_text(nbformat.writes(content) + "\n", encoding="utf-8")  # type: ignore[no-untyped-call]
        log.info("%s is stored with its outputs", path.name)


def _run(cells: list[NotebookNode], metadata: NotebookNode, folder: str) -> None:
    """Run code cells, each of which gets its outputs."""
    fatal = next((number for number, cell in enumerate(cells) if NOT_RUN in cell.metadata.get("tags", ())), None)
    if fatal is None or MemoryGroup.find() is None:
        _execute([cell for number, cell in enumerate(cells) if number != fatal], metadata, folder)
        return
    try:
        _execute(cells[: fatal + 1], metadata, folder)
    except DeadKernelError:
        log.info("The kernel died in cell %s, as it must", cells[fatal].id)
    else:
        raise PermanentError(f"The cell {cells[fatal].id} did not kill its kernel: the memory limit is too high")
    cells[fatal].outputs, cells[fatal].execution_count = [], None
    # As the text asks: one look at the limit, then the first cell again, which keeps its first outputs.
    _execute([cells[fatal + 1], copy.deepcopy(cells[0]), *cells[fatal + 2 :]], metadata, folder)


def _execute(cells: list[NotebookNode], metadata: NotebookNode, folder: str) -> None:
    """Run cells in a kernel of their own."""
    NotebookClient(
        nbformat.v4.new_notebook(cells=cells, metadata=metadata.copy()),  # type: ignore[no-untyped-call]
        timeout=_CELL_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": folder}},
    ).execute()


def _cleaned(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with the last of the progress lines that replace each other."""
    for output in outputs:
        if output.output_type == "stream":
            lines = (line.rstrip().rpartition("\r")[2].rstrip() for line in output.text.split("\n"))
            output.text = "\n".join(lines)
    return outputs


if __name__ == "__main__":
    main()
