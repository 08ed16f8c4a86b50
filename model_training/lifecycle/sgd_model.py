"""The lab's SGD model in MLflow: a run with its figures and data, the model as a pipeline, and a registered version."""

from copy import copy
from importlib.metadata import version
from typing import Final, NamedTuple

import mlflow
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from gourmetgram.errors import PermanentError
from gourmetgram.features.definition import CATEGORIES, NUMERIC_FEATURES, UNKNOWN_CATEGORY
from gourmetgram.models.artifacts import ENCODER_NAME, MODEL_NAME, SCALER_NAME
from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import check_package
from gourmetgram.models.unpickling import load_artifact
from gourmetgram.training.evaluation import FIGURES, Metrics
from gourmetgram.training.run import TrainingRun
from model_training.lifecycle.config import ProjectConfig, Tags
from model_training.lifecycle.data import TESTING, TRAINING, moderation_source
from model_training.lifecycle.registration import register_version
from model_training.lifecycle.serving import frame_matrix, log_serving
from model_training.lifecycle.tracking import quiet_mlflow, recorded_run

EXPERIMENT: Final = "/Shared/gourmetgram-moderation-sgd"
PIPELINE_NAME: Final = "sgd-pipeline-model"
"""Name of the logged model in its run."""
REQUIREMENTS: Final = ("mlflow-skinny", "cloudpickle", "numpy", "pandas", "scikit-learn")

# The scaler of the served model computes with float32, the pipeline with float64.
_TOLERANCE: Final = 1e-5


class LoggedRun(NamedTuple):
    """A training run in MLflow.

    Attributes:
        name: registered name of such models.
        run_id: the MLflow run.
        experiment_id: its experiment.
        package: the four files as logged.
    """

    name: str
    run_id: str
    experiment_id: str
    package: ModelPackage

    @property
    def model_uri(self) -> str:
        """Address of the logged pipeline."""
        return f"runs:/{self.run_id}/{PIPELINE_NAME}"


class RegisteredRun(NamedTuple):
    """A registered training run.

    Attributes:
        name: registered name.
        version: its new version.
        run_id: the MLflow run.
        experiment_id: its experiment.
        package: the four files as logged.
    """

    name: str
    version: str
    run_id: str
    experiment_id: str
    package: ModelPackage

    @property
    def uri(self) -> str:
        """Address of the version."""
        return f"models:/{self.name}/{self.version}"


def register_sgd(run: TrainingRun, config: ProjectConfig, tags: Tags, experiment: str = EXPERIMENT) -> RegisteredRun:
    """Log a training run of the lab's model to MLflow, and register the model with the alias `latest-model`.

    Arguments and errors are those of `log_sgd`.
    """
    logged = log_sgd(run, config, tags, experiment)
    number = register_version(logged.model_uri, logged.name, tags.to_dict())
    return RegisteredRun(logged.name, number, logged.run_id, logged.experiment_id, logged.package)


def log_sgd(run: TrainingRun, config: ProjectConfig, tags: Tags, experiment: str = EXPERIMENT) -> LoggedRun:
    """Log a training run of the lab's model to MLflow, with its data, its figures, and the model as a pipeline.

    Args:
        run: the training run.
        config: configuration of the moderation project; gives catalog and schema of the registered name.
        tags: origin of the model.
        experiment: the MLflow experiment.

    Raises:
        TransientError: MLflow or its object store is away.
        PermanentError: MLflow refuses, or the pipeline differs from the served model.
    """
    pipeline = sgd_pipeline(run.package)
    example = _example()
    title = f"sgd-{run.package.metadata['trained_at'][:10]}"
    with recorded_run(experiment, title, tags.to_dict()) as logged, quiet_mlflow():
        mlflow.log_params(_params(run))
        mlflow.log_metrics({**_figures("", run.model), **_figures("heuristic_", run.rules)})
        for side in (TRAINING, TESTING):
            source = moderation_source(str(run.snapshot_id), run.choice, side, [*config.features, config.target])
            # A dataset without its rows: the table may be larger than memory.
            dataset = MetaDataset(source, name=source.table, digest=source.digest)  # type: ignore[abstract]
            mlflow.log_input(dataset, context=side)
        info = mlflow.sklearn.log_model(
            pipeline,
            name=PIPELINE_NAME,
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
            signature=infer_signature(example, pipeline.predict(example)),
            input_example=example.head(1),
            pip_requirements=[f"{each}=={version(each)}" for each in REQUIREMENTS],
        )
        package = log_serving(run.package, logged.info, info.model_id)
    name = f"{config.catalog_name}.{config.schema_name}.moderation_model_sgd"
    return LoggedRun(name, logged.info.run_id, logged.info.experiment_id, package)


def sgd_pipeline(package: ModelPackage) -> Pipeline:
    """Scaler, encoder and model of four files as one pipeline that takes 18 numeric columns and the category's text.

    Raises:
        PermanentError: the pipeline gives other probabilities than the served model.
    """
    scaler, encoder, model = (load_artifact(package.files[name]) for name in (SCALER_NAME, ENCODER_NAME, MODEL_NAME))
    # They were fitted on arrays. With the names of the columns they take a data frame without a warning.
    scaler.feature_names_in_ = np.array(NUMERIC_FEATURES, dtype=object)
    encoder.feature_names_in_ = np.array(["category"], dtype=object)
    preprocessor = ColumnTransformer(
        [
            ("numeric", FrozenEstimator(scaler), list(NUMERIC_FEATURES)),
            ("category", FrozenEstimator(encoder), ["category"]),
        ]
    )
    pipeline = Pipeline([("preprocessor", preprocessor), ("classifier", FrozenEstimator(copy(model)))])
    example = _example()
    # Frozen parts learn nothing here: it only joins them.
    pipeline.fit(example, np.arange(len(example)) % 2)
    difference = np.abs(
        pipeline.predict_proba(example)[:, 1] - check_package(package).predict(frame_matrix(example))
    ).max()
    if difference > _TOLERANCE:
        raise PermanentError(f"The pipeline gives other probabilities than the served model, by {difference:.3g}.")
    return pipeline


def _example() -> pd.DataFrame:
    """One row of each category, with counts that differ."""
    rows = len(CATEGORIES) + 1
    columns = {name: np.arange(rows) * (place + 1.0) for place, name in enumerate(NUMERIC_FEATURES)}
    return pd.DataFrame({**columns, "category": pd.Series([*CATEGORIES, UNKNOWN_CATEGORY], dtype="str")})


def _params(run: TrainingRun) -> dict[str, object]:
    metadata = run.package.metadata
    return {
        "algorithm": metadata["algorithm"],
        "passes": metadata["passes"],
        "train_rows": run.balance.rows,
        "test_rows": run.scores.balance.rows,
        "train_data_version": metadata["snapshot_id"],
        "test_data_version": metadata["snapshot_id"],
        "label_horizon_minutes": run.choice.minutes,
        "held_out_from": metadata["held_out_from"],
    }


def _figures(prefix: str, metrics: Metrics) -> dict[str, float]:
    """The defined figures by name."""
    found = {prefix + name: getattr(metrics, name) for name in FIGURES}
    return {name: value for name, value in found.items() if value is not None}
