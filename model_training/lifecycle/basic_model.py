"""The basic model of a project: a pipeline of encoder and LightGBM classifier, logged and registered in MLflow."""

import logging
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final, cast

import mlflow
import pandas as pd  # type: ignore[import-untyped]
from lightgbm import LGBMClassifier
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.models import infer_signature
from mlflow.models.model import ModelInfo
from pyiceberg.catalog import Catalog
from sklearn.compose import ColumnTransformer
from sklearn.metrics import f1_score
from sklearn.pipeline import Pipeline

from gourmetgram.errors import PermanentError
from gourmetgram.features.definition import UNKNOWN_CATEGORY
from gourmetgram.training.survey import HorizonChoice
from model_training.lifecycle.config import ProjectConfig, Tags
from model_training.lifecycle.data import TESTING, TRAINING, ProjectData, load_project
from model_training.lifecycle.encoding import CatToIntTransformer
from model_training.lifecycle.registration import ALIAS, aliased_version, register_version
from model_training.lifecycle.serving import log_serving, serving_package
from model_training.lifecycle.sources import IcebergDatasetSource
from model_training.lifecycle.tracking import named_failures, quiet_mlflow, recorded_run

log = logging.getLogger(__name__)

MODEL_NAME: Final = "lightgbm-pipeline-model"
"""Name of the logged model in its run."""

REQUIREMENTS: Final = ("mlflow-skinny", "cloudpickle", "lightgbm", "numpy", "pandas", "scikit-learn")
"""Packages that the logged model needs, besides the platform's code with the encoder."""

# LightGBM writes to the standard output unless it is told not to. Its threads wait actively for each other: on some
# thousand rows, and a machine with other work, two of them take twenty times as long as one.
_DEFAULTS: Final = {"verbose": -1, "random_state": 42, "n_jobs": 1}


class BasicModel:
    """Trains, logs and registers a project's basic model, one step after the other.

    Args:
        config: configuration of the project.
        tags: origin of the model.
        catalog: the Iceberg catalog.

    Attributes:
        train_set: training rows, with the target.
        test_set: test rows, with the target.
        X_train: inputs of the training rows, numeric columns first.
        y_train: their labels, 0 or 1.
        X_test: inputs of the test rows.
        y_test: their labels.
        train_data_version: Iceberg snapshot of the training rows.
        test_data_version: Iceberg snapshot of the test rows.
        choice: label horizon and split of the moderation project, else None.
        pipeline: encoder and classifier.
        run_id: the MLflow run.
        experiment_id: its experiment.
        model_info: the logged model.
        metrics: figures on the test rows, by MLflow's names.
    """

    train_set: pd.DataFrame
    test_set: pd.DataFrame
    X_train: pd.DataFrame
    y_train: pd.Series
    X_test: pd.DataFrame
    y_test: pd.Series
    train_data_version: str
    test_data_version: str
    choice: HorizonChoice | None
    pipeline: Pipeline
    run_id: str
    experiment_id: str
    model_info: ModelInfo
    metrics: dict[str, float]

    def __init__(self, config: ProjectConfig, tags: Tags, catalog: Catalog) -> None:
        self.config = config
        self.tags = tags
        self._catalog = catalog
        self._data: ProjectData | None = None

    def load_data(self) -> None:
        """Read the training rows and the test rows as of the newest snapshots.

        Raises:
            UnusableDataError: no model can be trained from the rows; the text gives the reason and the remedy.
            TransientError: the catalog or the object store is away.
        """
        self._data = data = load_project(self.config, self._catalog)
        self.train_set, self.test_set, self.choice = data.train_set, data.test_set, data.choice
        self.train_data_version = data.train_source.snapshot_id
        self.test_data_version = data.test_source.snapshot_id
        features, target = self.config.features, self.config.target
        self.X_train, self.y_train = self.train_set[features], self.train_set[target]
        self.X_test, self.y_test = self.test_set[features], self.test_set[target]

    def prepare_features(self) -> None:
        """Build the pipeline: codes for the text columns, which come first, then the numbers, then the classifier."""
        # Unknown stands for every category that the scorer does not know, so it is no category of its own.
        missing = UNKNOWN_CATEGORY if self.config.project == "moderation" else None
        encoder = ("cat", CatToIntTransformer(missing), self.config.cat_features)
        self.pipeline = Pipeline(
            [
                ("preprocessor", ColumnTransformer([encoder], remainder="passthrough")),
                ("regressor", LGBMClassifier(**{**_DEFAULTS, **self.config.parameters})),
            ]
        )

    def train(self) -> None:
        """Fit the pipeline on the training rows.

        Raises:
            PermanentError: an earlier step is missing, or LightGBM refuses the parameters.
        """
        self._require("_data", "load_data")
        self._require("pipeline", "prepare_features")
        self.pipeline.fit(self.X_train, self.y_train)

    def log_model(self) -> None:
        """Log the fitted pipeline in a run of its own, and evaluate it on the test rows.

        The run has the tags, the parameters, both datasets with their snapshots, the model with signature and an
        example row, and the figures of the default evaluator. A run of the moderation project also has the folder
        `serving/`, with the four files that the scorer reads. A run that fails is marked as FAILED.

        Raises:
            TransientError: MLflow or its object store is away.
            PermanentError: an earlier step is missing, MLflow refuses, or the model cannot be served (see serving.py).
        """
        data = self._loaded()
        self._require("pipeline", "prepare_features")
        name = f"lightgbm-pipeline-{datetime.now(UTC):%Y-%m-%d}"
        with recorded_run(self.config.experiment_name_basic, name, self.tags.to_dict()) as run, quiet_mlflow():
            mlflow.log_params({**self.config.parameters, **self._facts()})
            testing = self._log_datasets(data)
            info = mlflow.sklearn.log_model(
                self.pipeline,
                name=MODEL_NAME,
                # MLflow's own format refuses LightGBM and classes of ours.
                serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
                signature=infer_signature(self.X_train, self.pipeline.predict(self.X_train.head())),
                input_example=self.X_test.head(1),
                pip_requirements=[f"{each}=={version(each)}" for each in REQUIREMENTS],
            )
            package = serving_package(self)
            if package is not None:
                log_serving(package, run.info, info.model_id)
            evaluation = mlflow.models.evaluate(  # type: ignore[no-untyped-call]
                info.model_uri,
                testing,
                model_type="classifier",
                evaluators="default",
                evaluator_config={"log_explainer": False, "log_model_explainability": False},
            )
        self.run_id, self.experiment_id = run.info.run_id, run.info.experiment_id
        self.model_info, self.metrics = info, dict(evaluation.metrics)

    def register_model(self) -> str:
        """Register the logged model as the next version, with the tags and the alias `latest-model`.

        Returns:
            The version.

        Raises:
            TransientError: MLflow is away.
            PermanentError: the model was not logged, or MLflow refuses.
        """
        self._require("model_info", "log_model")
        return register_version(f"runs:/{self.run_id}/{MODEL_NAME}", self.config.model_name_basic, self.tags.to_dict())

    def model_improved(self) -> bool:
        """True if the logged model is at least as good as the one behind the alias, or if there is none.

        The figure is the F1 score of class 1, of both models on the same test rows.

        Raises:
            TransientError: MLflow or its object store is away.
            PermanentError: the model was not logged, or the other one takes other columns.
        """
        self._require("model_info", "log_model")
        name = self.config.model_name_basic
        before = aliased_version(name)
        if before is None:
            return True
        with named_failures(f"Version {before.version} of {name} could not be loaded"):
            model = mlflow.pyfunc.load_model(f"models:/{name}@{ALIAS}")
        try:
            predictions = model.predict(self.X_test)
        except mlflow.MlflowException as error:
            raise PermanentError(
                f"Version {before.version} of {name} cannot be compared, because it takes other columns: "
                f"{' '.join(str(error).split())[:200]} Register the new model without the comparison."
            ) from error
        score = float(f1_score(self.y_test, predictions))
        log.info(
            "F1 score on the same test rows: %.4f new, %.4f version %s", self.metrics["f1_score"], score, before.version
        )
        return self.metrics["f1_score"] >= score

    def _log_datasets(self, data: ProjectData) -> PandasDataset:
        """Log both sets as inputs of the run; returns the test set as a dataset."""
        training = self._dataset(data.train_source, data.train_set)
        testing = self._dataset(data.test_source, data.test_set)
        mlflow.log_input(training, context=TRAINING)
        mlflow.log_input(testing, context=TESTING)
        return testing

    def _dataset(self, source: IcebergDatasetSource, frame: pd.DataFrame) -> PandasDataset:
        return from_pandas(frame, source=source, targets=self.config.target, name=source.table, digest=source.digest)

    def _facts(self) -> dict[str, Any]:
        """Facts about the data, as parameters of the run."""
        facts: dict[str, Any] = {
            "train_rows": len(self.train_set),
            "test_rows": len(self.test_set),
            "train_data_version": self.train_data_version,
            "test_data_version": self.test_data_version,
        }
        if self.choice is not None:
            facts["label_horizon_minutes"] = self.choice.minutes
            facts["held_out_from"] = self.choice.split.held_out_from.isoformat()
        return facts

    def _loaded(self) -> ProjectData:
        self._require("_data", "load_data")
        return cast("ProjectData", self._data)

    def _require(self, attribute: str, step: str) -> None:
        if getattr(self, attribute, None) is None:
            raise PermanentError(f"The step {step}() of BasicModel has not run yet: call it first.")
