"""Display of the way from a decision to its model's run, snapshot and rows."""

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from gourmetgram_tools.inspection.lineage import ModelLineage


def print_lineage(console: Console, model: ModelLineage) -> None:
    """Print the origin of the model of a decision, below it."""
    for line in lineage_lines(model):
        # An address of a page stays in one line, so that a terminal can open it.
        console.print(
            Padding(Text(line, style="dim", no_wrap=line.startswith("run "), overflow="ignore"), (0, 0, 0, 2))
        )


def lineage_lines(model: ModelLineage) -> Iterator[str]:
    """Lines about the origin of a model, without those that are not known."""
    if not model.found:
        yield f"model version {model.model_version} is not in the store of models (any more)"
        return
    registered = f" of {model.registered_name}" if model.registered_name else ", not registered in MLflow"
    number = f"version {model.registered_version}" if model.registered_name else "published from a folder"
    yield f"model version {model.model_version} ({model.algorithm}): {number}{registered}"
    if model.run_id:
        yield f"run {model.run_page or model.run_id}"
    rows = f"{model.rows or 0:,} rows of Iceberg snapshot {model.snapshot_id}"
    yield f"learned from {rows}, without images uploaded from {model.held_out_from} on"
    if model.forced:
        yield f"published although it was not better, because: {model.forced}"
