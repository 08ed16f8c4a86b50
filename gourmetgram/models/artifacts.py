"""The four artifacts of a model, and the checks before and after unpickling."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES, UNKNOWN_CATEGORY, FeatureVector
from gourmetgram.features.matrix import FeatureMatrix, matrix_of_vectors
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.unpickling import load_artifact

METADATA_NAME: Final = "metadata.json"
MODEL_NAME: Final = "model.joblib"
SCALER_NAME: Final = "scaler.joblib"
ENCODER_NAME: Final = "encoder.joblib"
ARTIFACT_NAMES: Final = (MODEL_NAME, SCALER_NAME, ENCODER_NAME)
"""The pickled objects of a model."""

MAX_MODEL_BYTES: Final = 64 * 1024 * 1024
"""Upper limit of all files of a model together, so that a change of the model fits into the scorer's memory.

See docs/decisions/model-allow-list.md.
"""

_NUMERIC: Final = len(NUMERIC_FEATURES)

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
Folder = Annotated[str, StringConstraints(pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*$", max_length=200)]


class ModelMetadata(BaseModel):
    """Part of `metadata.json` that readers need; the trainer writes more.

    Attributes:
        version: number of the model, counted up.
        updated_at: time of the upload; a change of it is the only sign of a new model.
        rows_seen: distinct training rows.
        feature_names: the columns that the model was trained on, in order.
        sha256: digest of each artifact, by file name.
        folder: folder of the artifacts, relative to the metadata; empty when they lie beside it. With a folder for each
            version, all artifacts change at the one moment at which the metadata changes.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    version: Annotated[int, Field(ge=1)]
    updated_at: AwareDatetime
    rows_seen: Annotated[int, Field(ge=0)]
    feature_names: tuple[str, ...]
    sha256: dict[str, Sha256]
    library_versions: dict[str, str] = {}
    folder: Folder = ""


def parse_metadata(text: bytes) -> ModelMetadata:
    """Parse `metadata.json` and check it as far as possible without the artifacts.

    Raises:
        ArtifactError: the text cannot be parsed, or names other features.
    """
    try:
        metadata = ModelMetadata.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ArtifactError(f"{METADATA_NAME} is not usable: {place}: {problem['msg']}".replace(": : ", ": ")) from None
    if metadata.feature_names != FEATURE_NAMES:
        raise ArtifactError(f"{METADATA_NAME} names other features than the {len(FEATURE_NAMES)} of this platform")
    missing = [name for name in ARTIFACT_NAMES if name not in metadata.sha256]
    if missing:
        raise ArtifactError(f"{METADATA_NAME} has no SHA-256 of {', '.join(missing)}")
    return metadata


class Classifier(Protocol):
    """Methods of scikit-learn's classifiers that serving uses."""

    classes_: NDArray[np.int64]

    def predict_proba(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability of each class, shape (rows, classes)."""


class Transformer(Protocol):
    """Methods of scikit-learn's scalers and encoders that serving uses."""

    def transform(self, columns: NDArray[Any]) -> Any:  # noqa: ANN401 - an array or a sparse matrix, by the encoder's choice
        """The transformed columns."""


class ServingModel:
    """A model that has passed all checks.

    Args:
        metadata: its metadata.
        model: a classifier of the classes 0 and 1 on 29 columns.
        scaler: scales the 18 numeric ones.
    """

    def __init__(self, metadata: ModelMetadata, model: Classifier, scaler: Transformer) -> None:
        self.metadata = metadata
        self._model = model
        self._scaler = scaler
        self._class_1 = list(model.classes_).index(1)

    @property
    def version(self) -> str:
        """Version as text, for rows and log lines."""
        return str(self.metadata.version)

    def probabilities(self, vectors: Sequence[FeatureVector]) -> list[float]:
        """The probability that each image needs moderation.

        Raises:
            ValueError: a vector has not exactly 29 finite values, or the model refuses it.
        """
        probabilities: list[float] = self.predict(matrix_of_vectors(vectors)).tolist()
        return probabilities

    def predict(self, matrix: FeatureMatrix) -> NDArray[np.float64]:
        """The probability of class 1 of each row, shape (rows,).

        Args:
            matrix: shape (rows, 29). Columns 1-18 go through the scaler. Columns 19-29 stay as they are: they equal the
                encoder's output for the category (checked when the model was loaded).
        """
        scaled = self._scaler.transform(matrix[:, :_NUMERIC])
        probabilities = self._model.predict_proba(np.hstack([scaled, matrix[:, _NUMERIC:]]))
        return np.asarray(probabilities[:, self._class_1], dtype=np.float64)


def load_model(metadata: ModelMetadata, files: Mapping[str, bytes]) -> ServingModel:
    """Check the digests of all artifacts, unpickle the allowed classes (unpickling.py), and try out the model.

    Args:
        metadata: from `parse_metadata`.
        files: the content of each of `ARTIFACT_NAMES`.

    Raises:
        ArtifactError: the files are too large, a digest differs (nothing is unpickled then), or a file cannot be read
            or fails the trial.
    """
    if sum(map(len, files.values())) > MAX_MODEL_BYTES:
        raise ArtifactError(f"the files of the model have more than {MAX_MODEL_BYTES} bytes: train a smaller model")
    for name in ARTIFACT_NAMES:
        if hashlib.sha256(files[name]).hexdigest() != metadata.sha256[name]:
            raise ArtifactError(f"{name} is not the file that {METADATA_NAME} describes (SHA-256 differs)")
    model, scaler, encoder = (_unpickle(name, files[name]) for name in ARTIFACT_NAMES)
    try:
        if not _encodes_categories(encoder):
            raise ArtifactError(f"{ENCODER_NAME} does not turn the eleven categories into their eleven columns")
        serving = ServingModel(metadata, model, scaler)
        probability = serving.predict(np.zeros((1, len(FEATURE_NAMES)), dtype=np.float32))
    except ArtifactError:
        raise
    except Exception as error:  # objects from a file may raise anything
        raise ArtifactError(f"the model fails on a vector of 29 values: {_short(error)}") from error
    if probability.shape != (1,) or not 0 <= probability[0] <= 1:
        raise ArtifactError("the model's answer is not a probability")
    return serving


def _unpickle(name: str, content: bytes) -> Any:  # noqa: ANN401 - the caller finds out what it is
    try:
        with warnings.catch_warnings():
            # A model of another scikit-learn version is tried out below; its version is in the metadata.
            warnings.simplefilter("ignore")
            return load_artifact(content)
    except Exception as error:  # a damaged or foreign pickle may raise anything
        raise ArtifactError(f"{name} cannot be read: {_short(error)}") from error


def _encodes_categories(encoder: Transformer) -> bool:
    """True if the encoder agrees with features 19 to 29: one column per category, none for an unknown one."""
    columns = encoder.transform(np.array([[name] for name in (*CATEGORIES, UNKNOWN_CATEGORY)], dtype=object))
    dense = columns.toarray() if hasattr(columns, "toarray") else np.asarray(columns)
    expected = np.vstack([np.eye(len(CATEGORIES)), np.zeros(len(CATEGORIES))])
    return bool(np.array_equal(dense, expected))


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
