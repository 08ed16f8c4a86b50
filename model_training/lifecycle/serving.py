"""The four files of the basic model that the scorer serves, as artifacts of its MLflow run."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.entities import RunInfo
from sklearn.preprocessing import StandardScaler

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES
from gourmetgram.features.matrix import FeatureMatrix
from gourmetgram.models.package import ModelPackage
from gourmetgram.registry.client import log_serving_files
from gourmetgram.training.evaluation import measure, rule_scores
from gourmetgram.training.package import Provenance, pack, serving_model
from gourmetgram.training.trainer import Balance, category_encoder
from model_training.lifecycle.boosted_trees import UnservableModelError, tree_ensemble

if TYPE_CHECKING:
    from model_training.lifecycle.basic_model import BasicModel

ALGORITHM: Final = "LGBMClassifier"
TOLERANCE: Final = 1e-9
"""Largest difference between a probability of the pipeline and one of the served trees."""

_NUMERIC: Final = len(NUMERIC_FEATURES)


def serving_package(model: "BasicModel") -> ModelPackage | None:
    """The four files of a trained basic model of the moderation project; None for another project.

    Raises:
        UnservableModelError: the pipeline has no equal form of plain trees, or its probabilities differ from those of
            the trees on a held-out row.
    """
    if model.choice is None:
        return None
    files = pack(tree_ensemble(model.pipeline), identity_scaler(), category_encoder())
    rows = len(model.train_set)
    matrix = frame_matrix(model.X_test)
    scores = serving_model(files, 1, rows).predict(matrix)
    _refuse_difference(scores, model.pipeline.predict_proba(model.X_test)[:, 1])
    labels = model.y_test.to_numpy(dtype=np.int64)
    provenance = Provenance(
        version=1,  # publishing gives the next number
        trained_at=datetime.now(UTC),
        snapshot_id=int(model.train_data_version),
        horizon_minutes=model.choice.minutes,
        passes=1,
        batches=1,
        balance=_balance(model.y_train.to_numpy(dtype=np.int64)),
        split=model.choice.split,
        held_out=_balance(labels),
        model=measure(labels, scores),
        rules=measure(labels, rule_scores(matrix)),
        algorithm=ALGORITHM,
    )
    metadata = provenance.document(files)
    metadata["library_versions"]["lightgbm"] = version("lightgbm")
    return ModelPackage(files, metadata)


def log_serving(package: ModelPackage, run: RunInfo, model_id: str | None) -> ModelPackage:
    """Log the four files to the active run, with the run's own ids in the metadata.

    Returns:
        The files as logged.
    """
    lineage = {"run_id": run.run_id, "experiment_id": run.experiment_id, "model_id": model_id}
    logged = ModelPackage(package.files, {**package.metadata, "mlflow": lineage})
    log_serving_files(logged)
    return logged


def identity_scaler() -> StandardScaler:
    """A scaler that changes nothing: trees compare the features as they are."""
    return StandardScaler(with_mean=False, with_std=False).fit(np.zeros((1, _NUMERIC), dtype=np.float32))


def frame_matrix(frame: pd.DataFrame) -> FeatureMatrix:
    """The vectors of rows with 18 numeric columns and the category's text, shape (rows, 29)."""
    matrix = np.zeros((len(frame), len(FEATURE_NAMES)), dtype=np.float32)
    matrix[:, :_NUMERIC] = frame[list(NUMERIC_FEATURES)].to_numpy(dtype=np.float32)
    for number, name in enumerate(CATEGORIES):
        matrix[:, _NUMERIC + number] = (frame["category"] == name).to_numpy()
    return matrix


def _refuse_difference(served: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", pipeline: object) -> None:
    difference = float(np.abs(served - np.asarray(pipeline, dtype=np.float64)).max(initial=0.0))
    if difference > TOLERANCE:
        raise UnservableModelError(
            f"The served form gives other probabilities than the pipeline on the held-out rows (by up to "
            f"{difference:.3g}): it is not logged."
        )


def _balance(labels: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> Balance:
    positive = int(labels.sum())
    return Balance(len(labels) - positive, positive)
