"""Texts as integer codes, in a form that scikit-learn puts into a pipeline."""

from typing import Any, Final, Self

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

UNSEEN: Final = -1
"""Code of a text that the training rows do not have."""


class CatToIntTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Encoder of text columns: the code of a text is its place among the sorted texts of the training rows, from 0.

    Args:
        missing: a text that stands for a missing one; its code is -1, like that of an unseen text.

    Attributes:
        categories_: after `fit`, the sorted texts of each column.
        feature_names_in_: after `fit`, the names of the columns.
    """

    def __init__(self, missing: str | None = None) -> None:
        self.missing = missing

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Learn the texts of each column; missing values are no text."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        self.categories_ = [self._texts(X[name]) for name in X.columns]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        """Codes of the texts, shape (rows, columns); -1 for unseen and missing ones.

        The codes are float64, because the pipeline puts them beside numbers.
        """
        check_is_fitted(self)
        columns = zip(self.feature_names_in_, self.categories_, strict=True)
        codes = [X[name].map({text: code for code, text in enumerate(texts)}) for name, texts in columns]
        return np.column_stack([each.astype("float64").fillna(UNSEEN).to_numpy() for each in codes])

    def _texts(self, column: pd.Series) -> list[Any]:
        return sorted(text for text in column.dropna().unique().tolist() if text != self.missing)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the columns, unchanged."""
        return self.feature_names_in_
