"""The basic models of both projects on a real MLflow: run, model, data, registered version."""

import sys
from subprocess import run
from typing import Any

import mlflow
import numpy as np
import orjson
import pytest
from mlflow.entities.model_registry import ModelVersion
from sklearn.metrics import f1_score, log_loss

from gourmetgram.errors import PermanentError
from gourmetgram.settings import process_environment
from model_training.lifecycle.basic_model import MODEL_NAME, BasicModel
from model_training.lifecycle.config import Tags
from model_training.lifecycle.marvel import write_marvel_tables
from model_training.lifecycle.registration import ALIAS
from tests.support.lifecycle_platform import TAGS, LifecyclePlatform
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = pytest.mark.servers

METRICS = {
    *("score", "accuracy_score", "precision_score", "recall_score", "f1_score", "log_loss", "roc_auc"),
    *("precision_recall_auc", "true_positives", "false_positives", "true_negatives", "false_negatives"),
    "example_count",
}
PROJECTS = ("moderation", "marvel")

Models = dict[str, tuple[BasicModel, str]]


@pytest.fixture(scope="module")
def models(lifecycle: LifecyclePlatform) -> Models:
    """A registered model of each project, with its version."""
    write_rows(lifecycle.catalog, synthetic_rows(images=300))
    write_marvel_tables(lifecycle.catalog)
    made = {project: lifecycle.logged(lifecycle.config(project)) for project in PROJECTS}
    return {project: (model, model.register_model()) for project, model in made.items()}


@pytest.mark.parametrize("project", PROJECTS)
def test_a_run_tells_all_about_a_model(lifecycle: LifecyclePlatform, models: Models, project: str) -> None:
    model, _ = models[project]
    found = lifecycle.client.get_run(model.run_id)
    assert found.info.status == "FINISHED"
    assert {name: found.data.tags[name] for name in ("git_sha", "branch")} == TAGS.to_dict()
    assert "run_id" not in found.data.tags
    assert set(found.data.metrics) == set(model.metrics) == METRICS
    assert found.data.params["n_estimators"] == "40"
    assert found.data.params["train_data_version"] == model.train_data_version
    experiment = lifecycle.client.get_experiment(model.experiment_id)
    assert experiment.name == model.config.experiment_name_basic


@pytest.mark.parametrize("project", PROJECTS)
def test_figures_are_those_of_the_test_rows(models: Models, project: str) -> None:
    model, _ = models[project]
    predictions = model.pipeline.predict(model.X_test)
    probabilities = model.pipeline.predict_proba(model.X_test)
    assert model.metrics["example_count"] == len(model.test_set)
    assert model.metrics["f1_score"] == pytest.approx(f1_score(model.y_test, predictions))
    assert model.metrics["log_loss"] == pytest.approx(log_loss(model.y_test, probabilities))
    assert model.metrics["true_positives"] == int(((predictions == 1) & (model.y_test == 1)).sum())


@pytest.mark.parametrize("project", PROJECTS)
def test_a_model_learns_more_than_chance(models: Models, project: str) -> None:
    assert models[project][0].metrics["roc_auc"] > 0.65


@pytest.mark.parametrize("project", PROJECTS)
def test_a_model_has_a_signature_and_an_example_of_one_row(models: Models, project: str) -> None:
    model, _ = models[project]
    info = mlflow.models.get_model_info(model.model_info.model_uri)
    config = model.config
    kinds = {column["name"]: column["type"] for column in info.signature.inputs.to_dict()}
    assert kinds == dict.fromkeys(config.num_features, "double") | dict.fromkeys(config.cat_features, "string")
    example = mlflow.pyfunc.load_model(model.model_info.model_uri).input_example
    assert example.shape == (1, len(config.features))


@pytest.mark.parametrize("project", PROJECTS)
def test_a_version_behind_the_alias_predicts_the_same(
    lifecycle: LifecyclePlatform, models: Models, project: str
) -> None:
    model, version = models[project]
    name = model.config.model_name_basic
    found: ModelVersion = lifecycle.client.get_model_version_by_alias(name, ALIAS)
    assert (str(found.version), found.run_id, found.tags) == (version, model.run_id, TAGS.to_dict())
    expected = model.pipeline.predict(model.X_test)
    addresses = (
        f"models:/{name}@{ALIAS}",
        f"runs:/{model.run_id}/{MODEL_NAME}",
        f"models:/{model.model_info.model_id}",
    )
    for address in addresses:
        assert np.array_equal(mlflow.pyfunc.load_model(address).predict(model.X_test), expected)
    loaded = mlflow.sklearn.load_model(addresses[0])
    assert np.array_equal(loaded.predict_proba(model.X_test), model.pipeline.predict_proba(model.X_test))


LOAD = """
import json, sys
import mlflow

for run_id in sys.argv[1:]:
    for each in mlflow.get_run(run_id).inputs.dataset_inputs:
        frame = mlflow.data.get_source(each).load()
        values = [frame[name].tolist() for name in frame.columns]
        print(json.dumps([run_id, each.tags[0].value, each.dataset.name, list(frame.columns), values]))
"""


def loaded_elsewhere(lifecycle: LifecyclePlatform, *run_ids: str) -> dict[tuple[str, str], list[Any]]:
    """Name, columns and values of the datasets of runs, as loaded by a process that imports MLflow only."""
    environment = process_environment() | lifecycle.environment
    done = run([sys.executable, "-c", LOAD, *run_ids], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    return {(run_id, side): rest for run_id, side, *rest in lines}


def test_a_fresh_process_loads_exactly_the_rows_of_both_sides(lifecycle: LifecyclePlatform, models: Models) -> None:
    # Later rows and images change the tables, but no snapshot.
    later = synthetic_rows(images=20, seed=7, days=1)
    write_rows(lifecycle.catalog, [row | {"image_id": f"later {number}"} for number, row in enumerate(later)])
    loaded = loaded_elsewhere(lifecycle, *(model.run_id for model, _ in models.values()))
    assert len(loaded) == 4
    for model, _ in models.values():
        for side, frame in (("training", model.train_set), ("testing", model.test_set)):
            name, columns, values = loaded[model.run_id, side]
            assert columns == list(frame.columns)
            assert values == [frame[column].tolist() for column in columns]
            assert name.startswith(("moderation.training_data", "marvel_characters.t"))


def test_no_row_is_on_both_sides(models: Models) -> None:
    model, _ = models["moderation"]
    assert model.choice is not None
    split = model.choice.split
    assert (split.train_images, split.held_out_images) == (240, 60)
    assert (len(model.train_set), len(model.test_set)) == (720, 180)
    assert model.train_data_version == model.test_data_version


def test_a_worse_model_is_no_improvement(lifecycle: LifecyclePlatform, models: Models) -> None:
    registered, version = models["marvel"]
    assert registered.model_improved()
    worse = lifecycle.logged(
        lifecycle.config("marvel", parameters={"n_estimators": 1, "learning_rate": 0.01}),
        Tags(git_sha="abcd12346", branch="main", run_id="17"),
    )
    assert worse.metrics["f1_score"] < registered.metrics["f1_score"]
    assert not worse.model_improved()
    assert lifecycle.versions(registered.config.model_name_basic) == [int(version)]
    assert lifecycle.client.get_run(worse.run_id).data.tags["run_id"] == "17"


def test_the_first_model_of_a_name_is_an_improvement(lifecycle: LifecyclePlatform, models: Models) -> None:
    model, _ = models["marvel"]
    other = BasicModel(lifecycle.config("marvel", catalog_name=f"{lifecycle.name}-first"), TAGS, lifecycle.catalog)
    other.__dict__.update({name: value for name, value in model.__dict__.items() if name != "config"})
    assert other.model_improved()


def test_a_model_of_other_columns_cannot_be_compared(lifecycle: LifecyclePlatform, models: Models) -> None:
    model, version = models["marvel"]
    fewer = lifecycle.config("marvel", num_features=["Height"])
    other = BasicModel(fewer, TAGS, lifecycle.catalog)
    other.load_data()
    other.metrics, other.model_info = model.metrics, model.model_info
    with pytest.raises(PermanentError, match=f"Version {version} of .* takes other columns"):
        other.model_improved()


@pytest.mark.parametrize("step", ["train", "log_model", "register_model", "model_improved"])
def test_a_step_too_early_names_the_step_before(lifecycle: LifecyclePlatform, step: str) -> None:
    model = BasicModel(lifecycle.config("marvel"), TAGS, lifecycle.catalog)
    with pytest.raises(PermanentError, match=r"The step \w+\(\) of BasicModel has not run yet: call it first"):
        getattr(model, step)()
