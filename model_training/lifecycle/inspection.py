"""A look at models and runs in MLflow: the logged model, its addresses, its run with the data, its versions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd  # type: ignore[import-untyped]
from mlflow.entities import DatasetInput, LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from gourmetgram.errors import PermanentError
from model_training.lifecycle.basic_model import MODEL_NAME
from model_training.lifecycle.client import mlflow
from model_training.lifecycle.registration import ALIAS
from model_training.lifecycle.tracking import named_failures

DOCUMENT: Final = Path("demo_artifacts") / "logged_model.json"
"""Place of the logged model's document, below the working folder."""


def dump_logged_model(model_id: str, path: Path = DOCUMENT) -> LoggedModel:
    """Write the document of a logged model: its parameters, metrics, tags, and address.

    Args:
        model_id: the logged model, `m-…`.
        path: file to write; its folder is made.

    Returns:
        The logged model.

    Raises:
        PermanentError: there is no such model.
        TransientError: MLflow is away.
    """
    with named_failures(f"The logged model {model_id} could not be read"):
        model = mlflow.get_logged_model(model_id)
    document = model.to_dictionary()
    document["metrics"] = [dict(metric) for metric in document["metrics"] or ()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=4) + "\n", encoding="utf-8")
    return model


def three_uris(model_id: str, run_id: str, name: str) -> dict[str, str]:
    """The three addresses of one registered model: by its id, by its run, and by the alias of its name."""
    return {
        "id": f"models:/{model_id}",
        "run": f"runs:/{run_id}/{MODEL_NAME}",
        "alias": f"models:/{name}@{ALIAS}",
    }


def predictions_by_uri(uris: Mapping[str, str], rows: pd.DataFrame) -> dict[str, list[int]]:
    """Load a pipeline from each address, and predict the same rows with each.

    Args:
        uris: addresses by a name of each.
        rows: rows with the pipeline's columns.

    Raises:
        PermanentError: an address leads to no model, or two addresses lead to different models.
        TransientError: MLflow or its object store is away.
    """
    found: dict[str, list[int]] = {}
    for form, uri in uris.items():
        with named_failures(f"{uri} could not be loaded"):
            found[form] = [int(each) for each in mlflow.sklearn.load_model(uri).predict(rows)]
    if len({tuple(each) for each in found.values()}) > 1:
        raise PermanentError(
            f"{', '.join(uris.values())} predict differently, so they are not one model: the alias moved on meanwhile."
        )
    return found


def latest_run_id(experiment_name: str, git_sha: str) -> str:
    """Find the newest finished run of a commit in an experiment.

    Raises:
        PermanentError: there is none.
        TransientError: MLflow is away.
    """
    with named_failures(f"Runs of {experiment_name} could not be read"):
        runs = mlflow.search_runs(
            experiment_names=[experiment_name],
            filter_string=f"tags.git_sha = '{git_sha}' AND attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
            output_format="list",
        )
    if not runs:
        raise PermanentError(
            f"The experiment {experiment_name} has no finished run of the commit {git_sha}: train one, or give the "
            "commit that trained."
        )
    return str(runs[0].info.run_id)


def dataset_input(run_id: str, purpose: str) -> DatasetInput:
    """The dataset of a run whose first tag has the value `training` or `testing`.

    Raises:
        PermanentError: the run does not exist, or has no such dataset.
        TransientError: MLflow is away.
    """
    with named_failures(f"Run {run_id} could not be read"):
        inputs = mlflow.get_run(run_id).inputs
    for each in inputs.dataset_inputs if inputs else ():
        if each.tags and each.tags[0].value == purpose:
            return each
    raise PermanentError(f"Run {run_id} has no dataset for {purpose}: it was not logged by BasicModel.")


def dataset_rows(run_id: str, purpose: str) -> pd.DataFrame:
    """Load the rows of a run's dataset again, from the snapshot that it names.

    Raises:
        PermanentError: the run has no such dataset, or the snapshot does not exist any more.
        TransientError: MLflow, the catalog or the object store is away.
    """
    source: Any = mlflow.data.get_source(dataset_input(run_id, purpose))
    return source.load()


def versions_of(name: str) -> list[ModelVersion]:
    """All versions of a registered name, the newest first.

    Raises:
        TransientError: MLflow is away.
    """
    with named_failures(f"Versions of {name} could not be read"):
        found = mlflow.search_model_versions(filter_string=f"name = '{name}'")
    return sorted(found, key=lambda each: int(each.version), reverse=True)


def versions_with_tag(tag: str, value: str) -> list[ModelVersion] | str:
    """Versions of all names with a tag, or the registry's reason for its refusal: not every registry can do this."""
    try:
        return list(mlflow.search_model_versions(filter_string=f"tags.{tag} = '{value}'"))
    except MlflowException as error:
        return str(error)
