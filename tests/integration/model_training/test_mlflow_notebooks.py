"""Both notebooks of a model's life, executed one after the other from top to bottom."""

import re
from pathlib import Path
from types import ModuleType

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.local.stack import Stack
from tests.support.object_logins import as_object_user
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

WORKSPACE = PROJECT_ROOT / "model_training" / "workspace"


@pytest.fixture(scope="module", name="notebooks")
def notebooks_fixture() -> ModuleType:
    from tests.support import notebooks

    return notebooks


def test_both_notebooks_end_with_registered_models_of_both_projects(
    catalog: Catalog,
    lake_environment: dict[str, str],
    mlflow_stack: Stack,
    tmp_path: Path,
    notebooks: ModuleType,
) -> None:
    snapshot_id = write_rows(catalog, synthetic_rows(images=120))
    environment = as_object_user(mlflow_stack.environment() | lake_environment, "gourmetgram_jupyter")

    text = notebooks.printed(notebooks.execute(WORKSPACE / "mlflow_basic.ipynb", tmp_path, environment))
    assert text.count(f"rows of snapshot {snapshot_id}\n") == 2
    assert re.findall(r"equal: (\w+)", text) == ["True", "True"]
    assert "the run of the commit is the run of this notebook: True" in text
    assert re.search(r"moderation_model_basic: version \d+ has the alias latest-model", text)
    assert "equal predictions: True" in text
    assert "'gourmetgram_dev.moderation.moderation_model_basic'" in text
    assert re.search(r"same parameters: True .*\none question a tree: (True|False)", text)
    assert re.search(r"marvel_character_model_basic: version \d+ has the alias latest-model", text)
    assert (tmp_path / "demo_artifacts" / "logged_model.json").exists()

    text = notebooks.printed(notebooks.execute(WORKSPACE / "mlflow_custom.ipynb", tmp_path, environment))
    assert re.search(r"moderation_model_custom: version \d+ has the alias latest-model", text)
    assert "equal: True" in text
    assert "Model is missing inputs ['caption_length']" in text
    assert "before: No module named 'model_training'\nafter:  {'Moderation prediction': [" in text
    assert "module: code/model_training/lifecycle/wrappers.py" in text
    assert re.search(r"\{'Survival prediction': \['(alive|dead)'", text)
    assert re.search(r"\{'model_version': '\d+', 'model_updated': 1\}", text)
    assert "'run_id': '1'" in text
