"""The four artifacts of a model: what must be true of them before, and after, anything is unpickled."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gourmetgram.errors import PermanentError
from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES, UNKNOWN_CATEGORY, FeatureVector
from gourmetgram.features.matrix import FeatureMatrix, matrix_of_vectors
from gourmetgram.models.unpickling import load_artifact

METADATA_NAME: Final = "metadata.json"
MODEL_NAME: Final = "model.joblib"
SCALER_NAME: Final = "scaler.joblib"
ENCODER_NAME: Final = "encoder.joblib"
ARTIFACT_NAMES: Final = (MODEL_NAME, SCALER_NAME, ENCODER_NAME)
"""The pickled objects of a model."""

_NUMERIC: Final = len(NUMERIC_FEATURES)

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
Folder = Annotated[str, StringConstraints(pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*$", max_length=200)]


class ArtifactError(PermanentError):
    """These artifacts are no model that may be served; the text says why."""


class ModelMetadata(BaseModel):
    """What a reader needs of `metadata.json`; the trainer writes more.

    Attributes:
        version: counts up with each model.
        updated_at: changes with every upload, and nothing else says that there is something new.
        rows_seen: distinct training rows.
        feature_names: the columns that the model was trained on, in order.
        sha256: digest of each artifact, by file name.
        folder: where the artifacts are, relative to the metadata; empty for beside it. A publisher that gives every
            version a folder of its own changes all artifacts in the one moment in which the metadata changes.
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
    """Read `metadata.json` and check what can be checked without the artifacts.

    Raises:
        ArtifactError: it cannot be read, or belongs to a model with other features.
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
    """What is used of scikit-learn's classifiers."""

    classes_: NDArray[np.int64]

    def predict_proba(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability of each class, shape (rows, classes)."""


class Transformer(Protocol):
    """What is used of scikit-learn's scalers and encoders."""

    def transform(self, columns: NDArray[Any]) -> Any:  # noqa: ANN401 - an array or a sparse matrix, by the encoder's choice
        """The transformed columns."""


class ServingModel:
    """A model that has passed all checks.

    Args:
        metadata: where it comes from.
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
        """What rows and log lines call it."""
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
            matrix: shape (rows, 29). Columns 1-18 go through the scaler; 19-29 are what the encoder would make of
                the category (checked when the model was loaded) and stay as they are.
        """
        scaled = self._scaler.transform(matrix[:, :_NUMERIC])
        probabilities = self._model.predict_proba(np.hstack([scaled, matrix[:, _NUMERIC:]]))
        return np.asarray(probabilities[:, self._class_1], dtype=np.float64)


def load_model(metadata: ModelMetadata, files: Mapping[str, bytes]) -> ServingModel:
    """Check the digests of all artifacts, then unpickle what is on the list (unpickling.py), then try it out.

    Args:
        metadata: from `parse_metadata`.
        files: the content of each of `ARTIFACT_NAMES`.

    Raises:
        ArtifactError: a digest differs (nothing is unpickled then), a file cannot be read or does not do its part.
    """
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
    except Exception as error:  # foreign objects may raise anything when they are asked to work
        raise ArtifactError(f"the model does not judge a vector of 29 values: {_short(error)}") from error
    if probability.shape != (1,) or not 0 <= probability[0] <= 1:
        raise ArtifactError("the model's answer is not a probability")
    return serving


def _unpickle(name: str, content: bytes) -> Any:  # noqa: ANN401 - the caller finds out what it is
    try:
        with warnings.catch_warnings():
            # A model of another scikit-learn is tried out below; that it is another one stands in its metadata.
            warnings.simplefilter("ignore")
            return load_artifact(content)
    except Exception as error:  # a damaged or foreign pickle may raise anything
        raise ArtifactError(f"{name} cannot be read: {_short(error)}") from error


def _encodes_categories(encoder: Transformer) -> bool:
    """Whether the encoder agrees with features 19 to 29: one column per category, none for an unknown one."""
    columns = encoder.transform(np.array([[name] for name in (*CATEGORIES, UNKNOWN_CATEGORY)], dtype=object))
    dense = columns.toarray() if hasattr(columns, "toarray") else np.asarray(columns)
    expected = np.vstack([np.eye(len(CATEGORIES)), np.zeros(len(CATEGORIES))])
    return bool(np.array_equal(dense, expected))


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
