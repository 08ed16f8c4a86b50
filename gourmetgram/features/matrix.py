"""Feature vectors as the matrix that models read. Separate from the definition, because it needs numpy."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gourmetgram.features.definition import FEATURE_NAMES, FeatureVector

FeatureMatrix: TypeAlias = NDArray[np.float32]
"""Shape (rows, 29), float32."""


def matrix_of_vectors(vectors: Sequence[FeatureVector]) -> FeatureMatrix:
    """Vectors of single images as a matrix, shape (len(vectors), 29).

    Raises:
        ValueError: a vector has not exactly 29 finite values.
    """
    return _checked(np.array(vectors, dtype=np.float32).reshape(len(vectors), -1) if vectors else _empty())


def matrix_of_columns(columns: FeatureVector) -> FeatureMatrix:
    """The 29 arrays of `feature_vector`, each of n values, as a matrix of shape (n, 29).

    Raises:
        ValueError: there are not exactly 29 columns of equal length, or a value is not finite.
    """
    return _checked(np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1))


def _empty() -> FeatureMatrix:
    return np.empty((0, len(FEATURE_NAMES)), dtype=np.float32)


def _checked(matrix: FeatureMatrix) -> FeatureMatrix:
    if matrix.shape[1] != len(FEATURE_NAMES):
        raise ValueError(f"a feature vector has {len(FEATURE_NAMES)} values, not {matrix.shape[1]}")
    if not np.isfinite(matrix).all():
        raise ValueError("a feature is not finite")
    return matrix
