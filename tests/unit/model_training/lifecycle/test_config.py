"""Project configurations: the two files of the repository, and wrong ones."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from gourmetgram.errors import SettingsError
from gourmetgram.features.definition import NUMERIC_FEATURES
from model_training.lifecycle.config import CONFIG_FILES, ProjectConfig, Tags


def test_the_moderation_project_is_the_contracts() -> None:
    config = ProjectConfig.from_yaml(CONFIG_FILES["moderation"], "prd")
    assert config.model_name_basic == "gourmetgram_prd.moderation.moderation_model_basic"
    assert config.model_name_custom == "gourmetgram_prd.moderation.moderation_model_custom"
    assert config.experiment_name_basic == "/Shared/gourmetgram-moderation-basic"
    assert config.experiment_name_custom == "/Shared/gourmetgram-moderation-custom"
    assert config.features == [*NUMERIC_FEATURES, "category"]
    assert config.target == "label_needs_moderation_24h"
    assert config.parameters == {"learning_rate": 0.01, "n_estimators": 1000, "max_depth": 6}


def test_the_marvel_project_is_the_contracts() -> None:
    config = ProjectConfig.from_yaml(CONFIG_FILES["marvel"], "acc")
    assert config.model_name_basic == "mlops_acc.marvel_characters.marvel_character_model_basic"
    assert config.model_name_custom == "mlops_acc.marvel_characters.marvel_character_model_custom"
    assert config.experiment_name_basic == "/Shared/marvel-characters-basic"
    assert config.experiment_name_custom == "/Shared/marvel-characters-custom"
    assert config.num_features == ["Height", "Weight"]
    texts = ["Universe", "Identity", "Gender", "Marital_Status", "Teams", "Origin", "Magic", "Mutant"]
    assert config.cat_features == texts
    assert config.target == "Alive"
    assert config.parameters == {"learning_rate": 0.01, "n_estimators": 1000, "max_depth": 6}


@pytest.mark.parametrize("env", ["prd", "acc", "dev"])
def test_each_environment_has_registered_models_of_its_own(env: str) -> None:
    assert ProjectConfig.from_yaml(CONFIG_FILES["moderation"], env).catalog_name == f"gourmetgram_{env}"


def test_another_environment_is_refused() -> None:
    with pytest.raises(SettingsError, match="The environment 'test' is unknown: give one of prd, acc, dev"):
        ProjectConfig.from_yaml(CONFIG_FILES["moderation"], "test")


def changed(tmp_path: Path, **changes: object) -> Path:
    """The marvel project's file with other entries; None leaves an entry out."""
    entries = yaml.safe_load(CONFIG_FILES["marvel"].read_text()) | changes
    path = tmp_path / "project.yml"
    path.write_text(yaml.safe_dump({name: value for name, value in entries.items() if value is not None}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dev": None}, "project.yml has no section 'dev': add it, with catalog_name and schema_name"),
        ({"dev": {"catalog_name": "mlops_dev"}}, "schema_name: Field required"),
        ({"target": None}, "target: Field required"),
        ({"tagret": "Alive"}, "tagret: Extra inputs are not permitted"),
        ({"project": "dc"}, "project: Input should be 'moderation' or 'marvel'"),
        ({"num_features": []}, "num_features: List should have at least 1 item"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ProjectConfig.from_yaml(changed(tmp_path, **changes), "dev")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not valid YAML"), ("", "has no entries"), ("- 1", "has no entries")]
)
def test_a_file_without_entries_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=f"broken.yml {message}"):
        ProjectConfig.from_yaml(path, "dev")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yml cannot be read"):
        ProjectConfig.from_yaml(tmp_path / "absent.yml", "dev")


def test_tags_leave_an_absent_run_out() -> None:
    assert Tags(git_sha="abcd12345", branch="main").to_dict() == {"git_sha": "abcd12345", "branch": "main"}
    tags = Tags(git_sha="abcd12345", branch="main", run_id="7")
    assert tags.to_dict() == {"git_sha": "abcd12345", "branch": "main", "run_id": "7"}


def test_unknown_tags_are_refused() -> None:
    with pytest.raises(ValidationError, match="job_run_id"):
        Tags.model_validate({"git_sha": "abcd12345", "branch": "main", "job_run_id": "7"})
