"""Examples as a data frame: 18 numeric columns, the category's text and the label, for models that take no vectors."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES, UNKNOWN_CATEGORY
from gourmetgram.features.matrix import FeatureMatrix
from gourmetgram.training.dataset import LABEL, Examples

FRAME_COLUMNS: Final = (*NUMERIC_FEATURES, "category", LABEL)
"""Columns of the data frame, in order."""

_NUMERIC: Final = len(NUMERIC_FEATURES)
_NAMES: Final = np.array([*CATEGORIES, UNKNOWN_CATEGORY], dtype=object)


def examples_frame(batches: Iterable[Examples]) -> pd.DataFrame:
    """The rows of all batches, in their order, with the columns `FRAME_COLUMNS`.

    The numeric columns are float64 and hold exactly the float32 values of the vectors: a model that learns from them
    gives the same answer for the vector of the scorer. The category of a vector without one is `Unknown`. The label is
    an int64 of the batches' label horizon.
    """
    found = list(batches)
    width = len(FEATURE_NAMES)
    matrix = np.vstack([each.matrix for each in found]) if found else np.empty((0, width), dtype=np.float32)
    frame = pd.DataFrame(matrix[:, :_NUMERIC].astype(np.float64), columns=list(NUMERIC_FEATURES))
    frame["category"] = category_texts(matrix)
    frame[LABEL] = np.concatenate([each.labels for each in found]) if found else np.empty(0, dtype=np.int64)
    return frame


def category_texts(matrix: FeatureMatrix) -> "pd.Series[str]":
    """The category of each vector of a matrix of shape (n, 29), as a column of n texts."""
    one_hot = matrix[:, _NUMERIC:]
    numbers = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), len(CATEGORIES))
    return pd.Series(_NAMES[numbers], dtype="str")
