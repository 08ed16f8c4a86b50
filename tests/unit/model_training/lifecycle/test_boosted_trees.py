"""A LightGBM pipeline and its plain trees give the same probabilities; other boosters are refused."""

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from gourmetgram.features.definition import NUMERIC_FEATURES
from model_training.lifecycle.boosted_trees import UnservableModelError, tree_ensemble
from model_training.lifecycle.encoding import CatToIntTransformer
from model_training.lifecycle.serving import frame_matrix
from tests.support.boosted_models import fitted, frame, labels

SEEN = ("Bread", "Rice", "Soup", "Unknown")


def compare(pipeline: Pipeline, rows: pd.DataFrame) -> None:
    expected = pipeline.predict_proba(rows)
    assert expected[:, 1].std() > 0
    np.testing.assert_allclose(tree_ensemble(pipeline).predict_proba(frame_matrix(rows)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_estimators": 1000, "learning_rate": 0.01},
        {"max_depth": -1, "num_leaves": 127, "min_child_samples": 2},
        {"boosting_type": "dart", "n_estimators": 20},
        {"is_unbalance": True},
    ],
    ids=str,
)
def test_probabilities_are_equal_on_other_rows(parameters: dict[str, Any]) -> None:
    rows = frame(1500)
    compare(fitted(rows, labels(rows), **parameters), frame(500, seed=3))


def test_categories_that_the_training_rows_do_not_have_count_as_unseen() -> None:
    rows = frame(1500, categories=SEEN)
    target = labels(rows)
    pipeline = fitted(rows, target)
    other = frame(500, seed=4)
    assert set(other["category"]) - set(SEEN)
    compare(pipeline, other)


def test_values_at_a_threshold_go_the_same_way() -> None:
    rows = frame(600)
    rows["views_5min"] = np.arange(600) % 7
    pipeline = fitted(rows, labels(rows))
    other = frame(700, seed=5)
    other["views_5min"] = np.arange(700) % 7 / 1.0
    compare(pipeline, other)


def test_a_model_that_has_seen_missing_values_is_served_because_a_vector_has_none() -> None:
    rows = frame(1500)
    target = labels(rows)
    rows.loc[::9, "views_5min"] = np.nan
    compare(fitted(rows, target), frame(300, seed=6))


def test_a_split_into_categories_is_refused() -> None:
    rows = frame(1500)
    pipeline = fitted(rows, labels(rows))
    columns = pipeline.named_steps["preprocessor"].transform(rows)
    columns[:, 0] += 1  # LightGBM takes no negative categories
    categorical = LGBMClassifier(n_estimators=30, verbose=-1, min_data_per_group=1, cat_smooth=1)
    categorical.fit(columns, labels(rows), categorical_feature=[0])
    pipeline.steps[1] = ("regressor", categorical)
    with pytest.raises(UnservableModelError, match=r"a split of the type '==', on a categorical column"):
        tree_ensemble(pipeline)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"zero_as_missing": True}, "treats zero as missing: train with zero_as_missing=False"),
        ({"linear_tree": True}, "linear models in its leaves: train with linear_tree=False"),
        ({"objective": "cross_entropy"}, "objective 'cross_entropy'"),
        ({"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "and averages them"),
        ({"max_depth": -1, "num_leaves": 900, "min_child_samples": 1}, None),
    ],
    ids=str,
)
def test_other_boosters_are_refused_with_the_reason(parameters: dict[str, Any], reason: str | None) -> None:
    rows = frame(1500)
    pipeline = fitted(rows, labels(rows), **parameters)
    if reason is None:
        compare(pipeline, frame(300, seed=7))
        return
    with pytest.raises(UnservableModelError, match=reason):
        tree_ensemble(pipeline)


def test_a_sigmoid_of_another_slope_is_refused() -> None:
    rows = frame(800)
    with pytest.raises(UnservableModelError, match="objective 'binary sigmoid:2'"):
        tree_ensemble(fitted(rows, labels(rows), sigmoid=2.0))


def test_classes_other_than_0_and_1_are_refused() -> None:
    rows = frame(800)
    with pytest.raises(UnservableModelError, match=r"classes are \[0, 1, 2\]"):
        tree_ensemble(fitted(rows, pd.Series(np.arange(800) % 3)))
    with pytest.raises(UnservableModelError, match=r"classes are \[1, 2\]"):
        tree_ensemble(fitted(rows, labels(rows) + 1))


def test_a_preprocessor_that_changes_a_feature_is_refused() -> None:
    rows = frame(800)
    pipeline = fitted(rows, labels(rows))
    parts = [
        ("cat", CatToIntTransformer(), ["category"]),
        ("scaled", StandardScaler(), [NUMERIC_FEATURES[4]]),
    ]
    pipeline.steps[0] = ("preprocessor", ColumnTransformer(parts, remainder="passthrough").fit(rows))
    with pytest.raises(UnservableModelError, match="changes or repeats a numeric feature"):
        tree_ensemble(pipeline)


def test_a_preprocessor_with_fewer_features_is_refused() -> None:
    rows = frame(800)
    pipeline = fitted(rows, labels(rows))
    pipeline.steps[0] = ("preprocessor", ColumnTransformer([("cat", CatToIntTransformer(), ["category"])]).fit(rows))
    with pytest.raises(UnservableModelError, match="reads 1 columns, not 18 numeric features and the category"):
        tree_ensemble(pipeline)
