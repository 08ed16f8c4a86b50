"""Configuration of a project, read from YAML: where its data and models are, its columns, and its parameters."""

from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gourmetgram.errors import SettingsError

ENVIRONMENTS: Final = ("prd", "acc", "dev")
"""Environments of a project, each with registered models of its own: production, acceptance, development."""

CONFIG_FILES: Final = {
    project: Path(__file__).parent / f"project_config_{project}.yml" for project in ("moderation", "marvel")
}
"""The configuration file of each project."""

_MODEL_NAMES: Final = {"moderation": "moderation_model", "marvel": "marvel_character_model"}


class ProjectConfig(BaseModel):
    """Configuration of one project in one environment.

    Attributes:
        project: name of the project, which selects its tables.
        catalog_name: first part of the registered models' names.
        schema_name: their second part, and the namespace of the project's Iceberg tables.
        num_features: numeric columns.
        cat_features: columns with texts.
        target: column with the label, 0 or 1.
        parameters: parameters of the LightGBM classifier.
        experiment_name_basic: MLflow experiment of the basic model.
        experiment_name_custom: MLflow experiment of the custom model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: Literal["moderation", "marvel"]
    catalog_name: str = Field(min_length=1)
    schema_name: str = Field(min_length=1)
    num_features: list[str] = Field(min_length=1)
    cat_features: list[str] = Field(min_length=1)
    target: str = Field(min_length=1)
    parameters: dict[str, Any]
    experiment_name_basic: str = Field(min_length=1)
    experiment_name_custom: str = Field(min_length=1)

    @property
    def model_name_basic(self) -> str:
        """Registered name of the basic model."""
        return f"{self._registered}_basic"

    @property
    def model_name_custom(self) -> str:
        """Registered name of the custom model."""
        return f"{self._registered}_custom"

    @property
    def features(self) -> list[str]:
        """Numeric columns, then columns with texts: the input of a model, in order."""
        return [*self.num_features, *self.cat_features]

    @property
    def _registered(self) -> str:
        return f"{self.catalog_name}.{self.schema_name}.{_MODEL_NAMES[self.project]}"

    @classmethod
    def from_yaml(cls, path: str | Path, env: str = "dev") -> Self:
        """Read a file: one section for each environment, and entries that all environments share.

        Args:
            path: the file.
            env: one of `ENVIRONMENTS`.

        Raises:
            SettingsError: the environment is unknown, the file cannot be read, or an entry is missing or wrong.
        """
        if env not in ENVIRONMENTS:
            raise SettingsError(f"The environment '{env}' is unknown: give one of {', '.join(ENVIRONMENTS)}.")
        entries = _entries(Path(path))
        own = entries.get(env)
        if not isinstance(own, dict):
            raise SettingsError(f"{path} has no section '{env}': add it, with catalog_name and schema_name.")
        shared = {name: value for name, value in entries.items() if name not in ENVIRONMENTS}
        try:
            return cls.model_validate(shared | own)
        except ValidationError as error:
            raise SettingsError(f"{path}: {_sentences(error)}") from None


class Tags(BaseModel):
    """Origin of a model, as tags of its run and of its registered version.

    Attributes:
        git_sha: commit of the code, for example `abcd12345`.
        branch: branch of the code, for example `main`.
        run_id: id of the job that trains, if a job does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    git_sha: str
    branch: str
    run_id: str | None = None

    def to_dict(self) -> dict[str, str]:
        """The tags by name, without an absent `run_id`."""
        return self.model_dump(exclude_none=True)


def _entries(path: Path) -> dict[str, Any]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}. Give the path of a project configuration.") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(entries, dict):
        raise SettingsError(f"{path} has no entries: it must hold the sections {', '.join(ENVIRONMENTS)} and others.")
    return entries


def _sentences(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return " ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}." for each in problems)
