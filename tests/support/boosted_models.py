"""Hand-made pipelines of the lifecycle's form: an encoder of the category, and LightGBM."""

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from gourmetgram.features.definition import CATEGORIES, NUMERIC_FEATURES, UNKNOWN_CATEGORY
from model_training.lifecycle.encoding import CatToIntTransformer


def frame(rows: int, seed: int = 1, categories: tuple[str, ...] = (*CATEGORIES, UNKNOWN_CATEGORY)) -> pd.DataFrame:
    """Rows with counts, ratios and zeros; the numbers are exact in float32."""
    random = np.random.default_rng(seed)
    columns = {name: random.gamma(1.0, 10, rows).astype(np.float32).astype(float) for name in NUMERIC_FEATURES}
    for name in ("views_5min", "is_weekend", "total_flags"):
        columns[name] = np.floor(columns[name] / 5)
    return pd.DataFrame({**columns, "category": pd.Series(random.choice(categories, rows), dtype="str")})


def labels(rows: pd.DataFrame, seed: int = 2) -> "pd.Series[int]":
    """1 is likelier with more views, and for soup."""
    odds = rows["views_5min"] + 2 * (rows["category"] == "Soup") - 3
    return pd.Series((np.random.default_rng(seed).random(len(rows)) < 1 / (1 + np.exp(-odds))).astype(np.int64))


def fitted(rows: pd.DataFrame, target: "pd.Series[int]", **parameters: Any) -> Pipeline:
    """A fitted pipeline; parameters are LightGBM's."""
    encoder = ("cat", CatToIntTransformer(), ["category"])
    settings = {"n_estimators": 50, "max_depth": 6, "verbose": -1, "random_state": 42, "n_jobs": 1, **parameters}
    pipeline = Pipeline(
        [
            ("preprocessor", ColumnTransformer([encoder], remainder="passthrough")),
            ("regressor", LGBMClassifier(**settings)),
        ]
    )
    return pipeline.fit(rows, target)
