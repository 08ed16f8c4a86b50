"""The lab's notebook, executed from top to bottom."""

import json
import re

import nbformat
import pyarrow.fs as pafs
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from gourmetgram.models.publishing import check_package
from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram.training.large_table import replace_large_table
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

WORKSPACE = PROJECT_ROOT / "model_training" / "workspace"


def executed(name, folder, environment):
    notebook = nbformat.read(WORKSPACE / name, as_version=4)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    try:
        client.execute(env={**process_environment(), **environment})
    finally:
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return outputs


def printed(outputs):
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def test_the_training_notebook_ends_with_a_published_model(catalog, publisher, lake_environment, tmp_path):
    snapshot_id = write_rows(catalog, synthetic_rows(images=120))
    outputs = executed("training.ipynb", tmp_path, lake_environment)
    text = printed(outputs)
    assert f"Training from Iceberg snapshot: {snapshot_id}\n" in text
    assert "96 images; hold out 24" in text
    assert "\n".join(publisher.served_keys) in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    active = publisher.read_active()
    check_package(active)
    local = json.loads((tmp_path / "models" / "metadata.json").read_text())
    assert local["version"] == active.metadata["version"] == 1
    assert local["snapshot_id"] == str(snapshot_id)
    assert local["updated_at"] == active.metadata["updated_at"]


def test_the_training_notebook_stops_with_a_sentence_when_the_table_is_empty(catalog, lake_environment, tmp_path):
    write_rows(catalog, [])
    with pytest.raises(CellExecutionError, match=r"has no rows yet\. Let traffic or a backfill run"):
        executed("training.ipynb", tmp_path, lake_environment)
    assert list(tmp_path.iterdir()) == []


def test_the_demonstration_runs_all_three_scenarios_where_memory_is_enough(catalog, lake_environment, tmp_path):
    write_rows(catalog, synthetic_rows(images=60))
    table = replace_large_table(catalog, 130_000)
    assert replace_large_table(catalog, 120_000).scan().count() == 120_000
    assert not [found for found in everything_below(table) if found.is_file]
    text = printed(executed("training_large_data_demo.ipynb", tmp_path, lake_environment))
    assert "LogisticRegression fitted on 180 rows" in text
    assert "120000 rows, memory in use" in text
    assert re.search(r"120,000 rows in 1[2-5] batches", text)
    names = {path.name for path in (tmp_path / "models").iterdir()}
    assert names == {"moderation_model_demo.joblib", "scaler_demo.joblib", "encoder_demo.joblib"}


def everything_below(table):
    """What the object store holds at the place of a table."""
    place = table.location().removeprefix("s3://")
    return table.io.fs_by_scheme("s3", "").get_file_info(pafs.FileSelector(place, recursive=True, allow_not_found=True))


@pytest.mark.parametrize("name", [path.name for path in sorted(WORKSPACE.glob("*.ipynb"))])
def test_notebooks_are_kept_without_outputs(name):
    notebook = nbformat.read(WORKSPACE / name, as_version=4)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
