"""Package of a training run: pickled objects, and the metadata of their lineage."""

import io
import platform
from datetime import datetime
from typing import Any, Final, NamedTuple

import joblib
import numpy as np
import sklearn
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.models.artifacts import ARTIFACT_NAMES, ModelMetadata, ServingModel, load_model
from gourmetgram.models.package import digests
from gourmetgram.models.trees import TreeEnsemble
from gourmetgram.moments import utc_text
from gourmetgram.training.evaluation import Metrics
from gourmetgram.training.split import Split
from gourmetgram.training.trainer import Balance

ALGORITHM: Final = "SGDClassifier(log_loss)"


class Provenance(NamedTuple):
    """Lineage of a model, and its metrics.

    Attributes:
        version: version of the model.
        trained_at: end of the training.
        snapshot_id: snapshot of moderation.training_data.
        horizon_minutes: label horizon.
        passes: number of passes over the training batches.
        batches: number of batches of one pass.
        balance: training examples by class.
        split: moment of the split, and the number of images on both sides.
        held_out: held-out examples by class.
        model: metrics of the model on them.
        rules: metrics of policy v1 on them.
        algorithm: name of the learning algorithm.
    """

    version: int
    trained_at: datetime
    snapshot_id: int
    horizon_minutes: int
    passes: int
    batches: int
    balance: Balance
    split: Split
    held_out: Balance
    model: Metrics
    rules: Metrics
    algorithm: str = ALGORITHM

    def document(self, files: dict[str, bytes]) -> dict[str, Any]:
        """The content of metadata.json for these files; its `updated_at` changes with every upload."""
        return {
            "version": self.version,
            "trained_at": utc_text(self.trained_at),
            "updated_at": utc_text(self.trained_at),
            "snapshot_id": str(self.snapshot_id),
            "rows_seen": self.balance.rows,
            "batches_seen": self.batches,
            "passes": self.passes,
            "algorithm": self.algorithm,
            "feature_names": FEATURE_NAMES,
            "metrics": {
                "model": self.model.document(),
                "heuristic": self.rules.document(),
                "train_rows": self.balance.rows,
                "train_images": self.split.train_images,
                "held_out_rows": self.held_out.rows,
                "held_out_images": self.split.held_out_images,
            },
            "held_out_from": utc_text(self.split.held_out_from),
            "label_horizon_minutes": self.horizon_minutes,
            "class_balance": {**self.balance.document(), "held_out": self.held_out.document()},
            "sha256": digests(files),
            "library_versions": library_versions(),
        }


def pack(model: SGDClassifier | TreeEnsemble, scaler: StandardScaler, encoder: OneHotEncoder) -> dict[str, bytes]:
    """The three pickled objects by file name."""
    return {name: _pickled(value) for name, value in zip(ARTIFACT_NAMES, (model, scaler, encoder), strict=True)}


def serving_model(files: dict[str, bytes], version: int, rows_seen: int) -> ServingModel:
    """The model as the scorer would load it, for an evaluation before its metadata.json exists.

    Raises:
        ArtifactError: the scorer would refuse the model.
    """
    metadata = ModelMetadata.model_validate(
        {
            "version": version,
            "updated_at": "1970-01-01T00:00:00Z",
            "rows_seen": rows_seen,
            "feature_names": FEATURE_NAMES,
            "sha256": digests(files),
        }
    )
    return load_model(metadata, files)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that pickled the objects; the scorer should use the same."""
    return {"python": platform.python_version(), "scikit-learn": sklearn.__version__, "numpy": np.__version__}


def _pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()
