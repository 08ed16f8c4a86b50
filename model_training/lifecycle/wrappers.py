"""Wrapped models: a registered pipeline behind a class that turns its 0 and 1 into words.

MLflow stores an instance and imports this module again at loading, in processes that know nothing of the platform.
So this module imports nothing of the platform's core; it travels in the model's code paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pandas as pd  # type: ignore[import-untyped]

from model_training.lifecycle.client import PythonModel, PythonModelContext, mlflow

if TYPE_CHECKING:
    from model_training.lifecycle.config import Tags

PIPELINE: Final = "lightgbm-pipeline"
"""Name of the artifact that holds the wrapped pipeline."""

MODEL_NAME: Final = "pyfunc-wrapper"
"""Name of the logged model in its run."""

_NEEDED: Final = ("mlflow-skinny", "cloudpickle", "lightgbm", "numpy", "pandas", "scikit-learn")
"""Packages that the pipeline needs besides the platform's wheel."""


class PipelineWrapper(PythonModel):
    """A pipeline whose predictions become words; subclasses name the output and its two words."""

    output: ClassVar[str]
    """Key of the answer."""
    words: ClassVar[tuple[str, str]]
    """Words for the predictions 0 and 1."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the wrapped pipeline; MLflow calls this when it loads the model."""
        self.model = mlflow.sklearn.load_model(context.artifacts[PIPELINE])

    # Without MLflow's optional `params`: the pipeline has none.
    def predict(  # type: ignore[override]
        self, context: PythonModelContext | None, model_input: pd.DataFrame
    ) -> dict[str, list[str]]:
        """Predict a word for each row.

        Args:
            context: not used; MLflow passes it.
            model_input: rows with the pipeline's columns.
        """
        return self.adjust_predictions(self.model.predict(model_input))

    def log_register_model(
        self,
        wrapped_model_uri: str,
        pyfunc_model_name: str,
        experiment_name: str,
        input_example: pd.DataFrame,
        tags: Tags,
        code_paths: list[str],
    ) -> str:
        """Log this wrapper with its pipeline in a run of its own, register it, and move the alias to it.

        Args:
            wrapped_model_uri: the pipeline, `models:/<model_id>`; MLflow copies it into the new model.
            pyfunc_model_name: registered name.
            experiment_name: experiment of the run, made when it does not exist.
            input_example: some rows with the pipeline's columns, stored with the model and its signature.
            tags: tags of the run and of the version.
            code_paths: the platform's wheel, and the package unpacked from it.

        Returns:
            The new version.

        Raises:
            TransientError: MLflow or its object store is away.
            PermanentError: MLflow refuses, for example because the wrapped model does not exist.
        """
        # Not at the top: where a wrapped model is loaded, the platform's core may be missing.
        from model_training.lifecycle.registration import register_version
        from model_training.lifecycle.tracking import quiet_mlflow, recorded_run

        run_name = f"wrapper-lightgbm-{datetime.now(UTC):%Y-%m-%d}"
        with recorded_run(experiment_name, run_name, tags.to_dict()), quiet_mlflow():
            logged = mlflow.pyfunc.log_model(
                name=MODEL_NAME,
                python_model=self,
                artifacts={PIPELINE: wrapped_model_uri},
                input_example=input_example,
                signature=mlflow.models.infer_signature(input_example, self.adjust_predictions([1])),
                code_paths=code_paths,
                conda_env=conda_environment(code_paths),
            )
        return register_version(logged.model_uri, pyfunc_model_name, tags.to_dict())

    @classmethod
    def adjust_predictions(cls, predictions: Iterable[int]) -> dict[str, list[str]]:
        """Turn predictions of 0 and 1 into a dictionary with one list of words."""
        return {cls.output: [cls.words[int(prediction)] for prediction in predictions]}


class MarvelModelWrapper(PipelineWrapper):
    """Survival of characters: 1 is alive."""

    output = "Survival prediction"
    words = ("dead", "alive")


class ModerationModelWrapper(PipelineWrapper):
    """Moderation of images: 1 needs a moderator."""

    output = "Moderation prediction"
    words = ("keep", "flag")


def conda_environment(code_paths: Sequence[str]) -> dict[str, Any]:
    """Environment for serving the model elsewhere: the wheels that it carries, and the packages of the pipeline."""
    wheels = [f"code/{Path(path).name}" for path in code_paths if path.endswith(".whl")]
    packages = [f"{name}=={version(name)}" for name in _NEEDED]
    return {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python_version()}", "pip", {"pip": [*packages, *wheels]}],
    }
