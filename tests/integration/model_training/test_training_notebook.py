"""The lab's notebook, executed from top to bottom."""

import json
import re
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.models.publishing import ModelPublisher, check_package
from gourmetgram.settings import PROJECT_ROOT
from gourmetgram.training.large_rows import LargeTablePlan
from gourmetgram.training.large_table import replace_large_table
from tests.support.object_logins import as_object_user
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

WORKSPACE = PROJECT_ROOT / "model_training" / "workspace"


@pytest.fixture(scope="module", name="notebooks")
def notebooks_fixture() -> ModuleType:
    from tests.support import notebooks

    return notebooks


@pytest.fixture
def jupyter_environment(lake_environment: dict[str, str]) -> dict[str, str]:
    """Variables of the notebooks, with their user of the object store."""
    return as_object_user(lake_environment, "gourmetgram_jupyter")


def test_the_training_notebook_ends_with_a_published_model(
    catalog: Catalog,
    publisher: ModelPublisher,
    jupyter_environment: dict[str, str],
    tmp_path: Path,
    notebooks: ModuleType,
) -> None:
    snapshot_id = write_rows(catalog, synthetic_rows(images=120))
    outputs = notebooks.execute(WORKSPACE / "training.ipynb", tmp_path, jupyter_environment)
    text = notebooks.printed(outputs)
    assert f"Training from Iceberg snapshot: {snapshot_id}\n" in text
    assert "96 images; hold out 24" in text
    assert "1440 minutes: 100% of 360 rows observed" in text
    assert "Label horizon: 1440 minutes, the longest that 60 % of the rows were observed for" in text
    assert "\n".join(publisher.served_keys) in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
    active = publisher.read_active()
    check_package(active)
    local = json.loads((tmp_path / "models" / "metadata.json").read_text())
    assert local["version"] == active.metadata["version"] == 1
    assert local["snapshot_id"] == str(snapshot_id)
    assert local["updated_at"] == active.metadata["updated_at"]


def test_the_training_notebook_runs_on_the_table_of_an_hour(
    catalog: Catalog, jupyter_environment: dict[str, str], tmp_path: Path, notebooks: ModuleType
) -> None:
    rows = synthetic_rows(images=120)
    for row in rows:
        row["label_observed_until"] = row["anchor_time"] + timedelta(minutes=60)
        row["label_needs_moderation_24h"] = row["label_needs_moderation_24h"] or None
    write_rows(catalog, rows)
    text = notebooks.printed(notebooks.execute(WORKSPACE / "training.ipynb", tmp_path, jupyter_environment))
    assert "100% of them flagged" in text
    assert "flagged within 60 minutes:" in text
    assert "/models/metadata.json" in text


def test_the_training_notebook_stops_with_a_sentence_when_the_table_is_empty(
    catalog: Catalog, jupyter_environment: dict[str, str], tmp_path: Path, notebooks: ModuleType
) -> None:
    write_rows(catalog, [])
    with pytest.raises(notebooks.CellExecutionError, match=r"has no rows yet\. Let traffic or a backfill"):
        notebooks.execute(WORKSPACE / "training.ipynb", tmp_path, jupyter_environment)
    assert list(tmp_path.iterdir()) == []


def test_the_demonstration_runs_all_three_scenarios_where_memory_is_enough(
    catalog: Catalog, jupyter_environment: dict[str, str], tmp_path: Path, notebooks: ModuleType
) -> None:
    write_rows(catalog, synthetic_rows(images=60))
    replace_large_table(catalog, LargeTablePlan(120_000))
    text = notebooks.printed(
        notebooks.execute(
            WORKSPACE / "training_large_data_demo.ipynb",
            tmp_path,
            jupyter_environment,
        )
    )
    assert "LogisticRegression fitted on 180 rows" in text
    assert "120000 rows, memory in use" in text
    assert "limit" in text
    assert "growth from the first to the last third of the rows" in text
    assert re.search(r"120,000 rows in 1[2-5] batches", text)
    names = {path.name for path in (tmp_path / "models").iterdir()}
    assert names == {"moderation_model_demo.joblib", "scaler_demo.joblib", "encoder_demo.joblib"}
