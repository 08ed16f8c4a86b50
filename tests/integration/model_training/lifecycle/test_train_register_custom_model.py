"""The job of the custom model: both models of a project, from the tables to the alias."""

import json
from pathlib import Path

import pytest
import yaml
from pyiceberg.catalog import Catalog

from gourmetgram_tools.local.stack import Stack
from model_training.lifecycle import train_register_custom_model
from model_training.lifecycle.client import mlflow
from model_training.lifecycle.config import CONFIG_FILES, ProjectConfig, Tags
from model_training.lifecycle.custom_model import basic_model_uri, register_custom_model
from model_training.lifecycle.inspection import (
    dataset_input,
    dataset_rows,
    dump_logged_model,
    latest_run_id,
    predictions_by_uri,
    three_uris,
    versions_of,
    versions_with_tag,
)
from model_training.lifecycle.marvel import marvel_rows
from model_training.lifecycle.registration import ALIAS
from model_training.lifecycle.tracking import connect
from model_training.lifecycle.train_register_custom_model import main
from tests.conftest import UniqueName
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = pytest.mark.servers


@pytest.fixture(name="environment")
def environment_fixture(
    mlflow_stack: Stack, lake_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This process in the test's lakehouse, with the test stack's MLflow."""
    for name, value in (mlflow_stack.environment() | lake_environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    connect()


def own_config(project: str, unique_name: UniqueName, folder: Path) -> Path:
    """The project's file with names of this test."""
    name = unique_name("custom").replace("-", "_")
    entries = yaml.safe_load(CONFIG_FILES[project].read_text())
    entries["dev"]["schema_name"] = name
    entries["experiment_name_basic"], entries["experiment_name_custom"] = f"/{name}-basic", f"/{name}-custom"
    path = folder / "project.yml"
    path.write_text(yaml.safe_dump(entries))
    return path


@pytest.mark.usefixtures("environment")
def test_the_job_registers_both_models_of_the_moderation_project(
    catalog: Catalog, unique_name: UniqueName, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot_id = write_rows(catalog, synthetic_rows(images=120))
    path = own_config("moderation", unique_name, tmp_path)
    arguments = ["--config", str(path), "--env", "dev", "--git_sha", "abcd12345", "--branch", "main"]
    main([*arguments, "--job_run_id", "job-1"])
    assert "model_version=1\nmodel_updated=1\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "demo_artifacts" / "task_values.json").read_text()) == {
        "model_version": "1",
        "model_updated": 1,
    }

    config = ProjectConfig.from_yaml(path, "dev")
    tags = {"git_sha": "abcd12345", "branch": "main", "run_id": "job-1"}
    for name in (config.model_name_basic, config.model_name_custom):
        (version,) = versions_of(name)
        assert (version.version, version.tags) == ("1", tags)
        assert mlflow.MlflowClient().get_model_version_by_alias(name, ALIAS).version == "1"
    run_id = latest_run_id(config.experiment_name_basic, "abcd12345")
    rows = dataset_rows(run_id, "testing")
    wrapped = mlflow.pyfunc.load_model(f"models:/{config.model_name_custom}@{ALIAS}")
    answer = wrapped.predict(rows[config.features])
    assert answer == wrapped.unwrap_python_model().predict(context=None, model_input=rows[config.features])
    pipeline = mlflow.sklearn.load_model(basic_model_uri(config))
    words = ["flag" if each else "keep" for each in pipeline.predict(rows[config.features])]
    assert answer == {"Moderation prediction": words}
    assert set(words) == {"flag", "keep"}
    assert str(snapshot_id) in dataset_input(run_id, "training").dataset.source


@pytest.mark.usefixtures("environment")
def test_a_model_that_is_not_better_is_not_registered(
    unique_name: UniqueName, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_config("marvel", unique_name, tmp_path)
    arguments = ["--config", str(path), "--git_sha", "abcd12345", "--branch", "main"]
    main(arguments)
    entries = yaml.safe_load(path.read_text())
    entries["parameters"]["n_estimators"] = 1  # always the more frequent class
    path.write_text(yaml.safe_dump(entries))
    capsys.readouterr()
    main(arguments)
    assert "model_version=1\nmodel_updated=0\n" in capsys.readouterr().out
    config = ProjectConfig.from_yaml(path, "dev")
    assert [each.version for each in versions_of(config.model_name_basic)] == ["1"]
    assert [each.version for each in versions_of(config.model_name_custom)] == ["1"]


@pytest.mark.usefixtures("environment")
def test_a_model_is_found_by_all_its_addresses_and_its_data_by_its_run(unique_name: UniqueName, tmp_path: Path) -> None:
    path = own_config("marvel", unique_name, tmp_path)
    sha = unique_name("sha")
    main(["--config", str(path), "--git_sha", sha, "--branch", "main"])
    config = ProjectConfig.from_yaml(path, "dev")
    run_id = latest_run_id(config.experiment_name_basic, sha)
    train, test = marvel_rows()
    assert dataset_rows(run_id, "training").equals(train.to_pandas()[[*config.features, config.target]])
    rows = dataset_rows(run_id, "testing")
    assert rows.equals(test.to_pandas()[[*config.features, config.target]])

    model_id = basic_model_uri(config).removeprefix("models:/")
    uris = three_uris(model_id, run_id, config.model_name_basic)
    found = predictions_by_uri(uris, rows[config.features])
    assert list(found) == ["id", "run", "alias"]
    assert found["id"] == found["run"] == found["alias"]
    assert len(found["id"]) == len(rows)

    model = dump_logged_model(model_id)
    document = json.loads((tmp_path / "demo_artifacts" / "logged_model.json").read_text())
    assert document["model_id"] == model.model_id == model_id
    assert {"f1_score", "roc_auc"} <= {each["key"] for each in document["metrics"]}
    tagged = versions_with_tag("git_sha", sha)
    assert not isinstance(tagged, str)
    assert {each.name for each in tagged} == {config.model_name_basic, config.model_name_custom}


@pytest.mark.usefixtures("environment")
def test_without_a_basic_model_nothing_is_wrapped(unique_name: UniqueName, tmp_path: Path) -> None:
    config = ProjectConfig.from_yaml(own_config("marvel", unique_name, tmp_path), "dev")
    example = marvel_rows(rows=5)[0].to_pandas()[config.features]
    with pytest.raises(Exception, match=rf"No version of {config.model_name_basic} has the alias latest-model"):
        register_custom_model(config, Tags(git_sha="abcd12345", branch="main"), example)
    assert versions_of(config.model_name_custom) == []


def test_the_job_prints_a_sentence_when_mlflow_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(SystemExit, match="1"):
        main([])
    assert "MLflow does not answer at http://127.0.0.1:9" in caplog.text


def test_the_help_names_all_arguments_of_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        train_register_custom_model.main(["--help"])
    text = capsys.readouterr().out
    for name in ("root_path", "env", "git_sha", "job_run_id", "branch", "project", "config", "task_values"):
        assert f"--{name}" in text
