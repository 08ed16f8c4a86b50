"""Run the notebooks of this folder, and store them with their outputs.

    eval "$(gourmetgram env)" && python model_training/store_outputs.py training training_large_data_demo

Addresses of the stores come from the environment. A cell with the tag `not-run` is left out, and is stored without
outputs. Stored outputs hold no timings, and only the last of several progress lines that replace each other.
"""

import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

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
        run = [cell for cell in cells if NOT_RUN not in cell.metadata.get("tags", ())]
        for cell in cells:
            cell.outputs, cell.execution_count = [], None
        everything, content.cells = content.cells, run
        _execute(content)
        content.cells = everything
        for cell in run:
            cell.outputs = _cleaned(cell.outputs)
        content.metadata = metadata
        path.write_text(nbformat.writes(content) + "\n", encoding="utf-8")  # type: ignore[no-untyped-call]
        log.info("%s is stored with its outputs", path.name)


def _execute(content: NotebookNode) -> None:
    # A folder of its own: a model that the workspace already has is neither listed nor replaced.
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            content,
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
