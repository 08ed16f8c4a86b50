"""The notebooks as they are stored: the lab's lines, and the outputs of a real run without traces of its machine."""

import base64
import json
import re
from typing import Any

import pytest

from gourmetgram.settings import PROJECT_ROOT

WORKSPACE = PROJECT_ROOT / "model_training" / "workspace"
NAMES = sorted(path.name for path in WORKSPACE.glob("*.ipynb"))
NOT_RUN = "not-run"

LINES_OF_THE_LAB = (
    'catalog = load_catalog("gourmetgram")',
    'table = catalog.load_table("moderation.training_data")',
    "snapshot_id = table.metadata.current_snapshot_id",
    'print(f"Training from Iceberg snapshot: {snapshot_id}")',
    "batches = table.scan(snapshot_id=snapshot_id).to_arrow_batch_reader()",
    "for batch in batches:",
    "model.partial_fit(X_batch, y_batch, classes=[0, 1])",
)

TRACES = {
    "a path": re.compile(r"(?<![\w:/.])/(home|root|tmp|work|opt|usr|var|Users|mnt)/"),
    "a host": re.compile(r"localhost|127\.0\.0\.1|\bhttps?://|\.internal\b"),
    "a token or a password": re.compile(r"token=|gourmetgram_(minio|postgres|airflow)|[0-9a-f]{48}"),
    "a duration": re.compile(r"Wall time|CPU times|it/s\b"),
    "a replaced line": re.compile(r"\r"),
    "an error": re.compile(r"Traceback|Warning"),
}
LARGEST_PICTURE = 150_000


def code_cells(name: str) -> list[dict[str, Any]]:
    cells = json.loads((WORKSPACE / name).read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def texts(cell: dict[str, Any]) -> str:
    """Printed text, plain text and HTML of a cell's outputs."""
    found = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        found += [
            "".join(part) for part in (output.get("text", ""), data.get("text/plain", ""), data.get("text/html", ""))
        ]
    return "\n".join(found)


def pictures(cell: dict[str, Any]) -> list[bytes]:
    data = [output.get("data", {}) for output in cell["outputs"]]
    return [base64.b64decode(each["image/png"]) for each in data if "image/png" in each]


def test_the_training_notebook_has_the_lines_of_the_lab_in_their_order() -> None:
    source = "\n".join("".join(cell["source"]) for cell in code_cells("training.ipynb"))
    places = [source.find(line) for line in LINES_OF_THE_LAB]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("name", NAMES)
def test_all_cells_were_run_in_one_go_from_top_to_bottom(name: str) -> None:
    cells = code_cells(name)
    counts = [cell["execution_count"] for cell in cells]
    if None in counts:
        # A new kernel: the cell that asks for the limit, then the first cell again, which is stored once only.
        fatal = counts.index(None)
        assert counts[fatal + 1 :] == [1, *range(3, len(cells) - fatal + 1)]
        counts = counts[:fatal]
    assert counts == list(range(1, len(counts) + 1))
    assert any(cell["outputs"] for cell in cells)
    assert all(cell["metadata"].keys() <= {"tags"} for cell in cells)


def test_the_cell_that_kills_its_kernel_has_no_output_and_a_warning_above_it() -> None:
    cells = json.loads((WORKSPACE / "training_large_data_demo.ipynb").read_text())["cells"]
    chosen = [number for number, cell in enumerate(cells) if NOT_RUN in cell["metadata"].get("tags", ())]
    assert len(chosen) == 1
    (number,) = chosen
    assert "large_training_data" in "".join(cells[number]["source"])
    assert (cells[number]["outputs"], cells[number]["execution_count"]) == ([], None)
    assert "**This cell kills the kernel**" in "".join(cells[number - 1]["source"])


def test_the_stored_outputs_of_the_training_notebook_are_those_of_a_whole_run() -> None:
    cells = code_cells("training.ipynb")
    text = "\n".join(map(texts, cells))
    snapshot = re.search(r"^Training from Iceberg snapshot: (\d+)$", text, re.MULTILINE)
    assert snapshot
    assert f"snapshot_id: {snapshot[1]}  version: 1" in text
    for part in ("Label horizon: ", "held-out rows: ", "REVIEW or FLAG (from 0.3)", "FLAG (above 0.7)", "base rate"):
        assert part in text
    assert texts(cells[-1]).rstrip().endswith("models/moderation/metadata.json")
    assert sum(len(pictures(cell)) for cell in cells) == 6


def test_the_stored_run_of_the_large_table_was_killed_at_the_limit_and_then_streamed() -> None:
    cells = json.loads((WORKSPACE / "training_large_data_demo.ipynb").read_text())["cells"]
    assert "with 6,000,000 rows under a limit of 1 GB" in "".join(cells[0]["source"])
    text = "\n".join(map(texts, code_cells("training_large_data_demo.ipynb")))
    assert re.search(r"^Memory limit 1,074 MB.*; killed at the limit so far: 1 ", text, re.MULTILINE)
    assert "\n6,000,000 rows in " in text
    highest = re.search(r"never more than (\d+) MB", text)
    assert highest
    assert int(highest[1]) < 1_074
    assert sum(len(pictures(cell)) for cell in code_cells("training_large_data_demo.ipynb")) == 1


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_hold_no_trace_of_a_machine(name: str, trace: str) -> None:
    for cell in code_cells(name):
        found = TRACES[trace].search(texts(cell))
        assert found is None, f"{cell['id']}: {found and found.group(0)}"


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_small(name: str) -> None:
    sizes = {cell["id"]: len(picture) for cell in code_cells(name) for picture in pictures(cell)}
    assert all(size < LARGEST_PICTURE for size in sizes.values()), sizes
