"""Wrapped models: logged with the platform's wheel, registered, and loaded where the platform is not installed."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from gourmetgram.settings import process_environment
from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle.client import mlflow
from model_training.lifecycle.config import Tags
from model_training.lifecycle.registration import ALIAS
from model_training.lifecycle.tracking import TrackingSettings, connect
from model_training.lifecycle.wheels import code_paths, platform_wheel
from model_training.lifecycle.wrappers import (
    MarvelModelWrapper,
    ModerationModelWrapper,
    PipelineWrapper,
)
from tests.conftest import UniqueName

pytestmark = pytest.mark.servers

ROWS = pd.DataFrame({"Magic": ["yes", "no", "yes", "no"] * 25, "Height": [float(number % 10) for number in range(100)]})
ALIVE = ROWS["Height"] > 4

ELSEWHERE = """
import json, sys

sys.path.append(sys.argv[1])  # -S leaves out the editable installation together with everything else of `site`
for name in ("gourmetgram", "model_training"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} can be imported before the model is loaded")

import mlflow, pandas

model = mlflow.pyfunc.load_model(sys.argv[2])
rows = pandas.DataFrame(json.loads(sys.argv[3]))
answer = model.predict(rows)
assert answer == model.unwrap_python_model().predict(context=None, model_input=rows)
assert "gourmetgram" not in sys.modules
print(json.dumps(answer))
"""


@pytest.fixture(name="server", autouse=True)
def server_fixture(mlflow_stack: Stack) -> None:
    connect(TrackingSettings.load(mlflow_stack.environment() | {"PROFILE": ""}))


@pytest.fixture(name="pipeline_uri")
def pipeline_uri_fixture(unique_name: UniqueName) -> str:
    encoder = ColumnTransformer([("cat", OrdinalEncoder(), ["Magic"])], remainder="passthrough")
    pipeline = Pipeline([("preprocessor", encoder), ("regressor", LGBMClassifier(n_estimators=5, verbose=-1))])
    pipeline.set_output(transform="pandas")
    pipeline.fit(ROWS, ALIVE.astype(int))
    mlflow.set_experiment(unique_name("wrappers"))
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            pipeline, name="lightgbm-pipeline-model", serialization_format="cloudpickle", pip_requirements=[]
        )
    return f"models:/{logged.model_id}"


def predict_elsewhere(uri: str, rows: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Load a model and predict in a process that has the packages of this environment, but not the platform."""
    return subprocess.run(
        # The packages' folder still lists the hidden platform's entry points, of which MLflow complains.
        [
            *(sys.executable, "-I", "-S", "-W", "ignore:Failure attempting to register dataset constructor"),
            *("-c", ELSEWHERE, sysconfig.get_path("purelib"), uri, rows),
        ],
        env={**process_environment(), "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("wrapper", [MarvelModelWrapper(), ModerationModelWrapper()])
def test_a_wrapped_model_predicts_words_where_the_platform_is_not_installed(
    wrapper: PipelineWrapper, pipeline_uri: str, unique_name: UniqueName, tmp_path: Path
) -> None:
    name, experiment, sha = unique_name("wrapped"), unique_name("wrapped-runs"), unique_name("sha")
    wheel = platform_wheel()
    paths = code_paths(wheel, tmp_path)
    version = wrapper.log_register_model(
        pipeline_uri, name, experiment, ROWS[:1], Tags(git_sha=sha, branch="main"), paths
    )

    registered = mlflow.MlflowClient().get_model_version_by_alias(name, ALIAS)
    assert (registered.version, registered.tags["git_sha"]) == (version, sha) == ("1", sha)
    (run,) = mlflow.search_runs(
        experiment_names=[experiment], filter_string=f"tags.git_sha = '{sha}'", output_format="list"
    )
    assert run.info.run_name.startswith("wrapper-lightgbm-20")
    assert registered.run_id == run.info.run_id
    environment = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{name}/{version}", format="conda"))
    assert f"- code/{wheel.name}\n" in environment.read_text()

    chosen = ROWS[3:8]
    expected = [wrapper.words[int(alive)] for alive in ALIVE[3:8]]
    answer = predict_elsewhere(f"models:/{name}@{ALIAS}", chosen.to_json(orient="records"), tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {wrapper.output: expected}
    assert answer.stderr == ""


def test_a_wheel_alone_is_stored_but_cannot_be_imported(
    pipeline_uri: str, unique_name: UniqueName, tmp_path: Path
) -> None:
    """The reason of the unpacked package."""
    name, tags = unique_name("wrapped"), Tags(git_sha="abcd12345", branch="main")
    ModerationModelWrapper().log_register_model(
        pipeline_uri, name, unique_name("runs"), ROWS[:1], tags, [str(platform_wheel())]
    )
    answer = predict_elsewhere(f"models:/{name}@{ALIAS}", "[]", tmp_path)
    assert "No module named 'model_training'" in answer.stderr
