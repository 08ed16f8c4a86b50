"""Codes of text columns."""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from sklearn.exceptions import NotFittedError

from model_training.lifecycle.encoding import CatToIntTransformer

TRAINING = pd.DataFrame({"dish": ["Soup", "Bread", "Rice", "Bread"], "hot": ["yes", "no", "yes", "no"]})


def test_codes_follow_the_sorted_texts_of_the_training_rows() -> None:
    encoder = CatToIntTransformer().fit(TRAINING)
    assert encoder.transform(TRAINING).tolist() == [[2, 1], [0, 0], [1, 1], [0, 0]]
    assert encoder.categories_ == [["Bread", "Rice", "Soup"], ["no", "yes"]]


def test_unseen_and_missing_texts_are_minus_one() -> None:
    encoder = CatToIntTransformer().fit(TRAINING)
    others = pd.DataFrame({"dish": ["soup", None, "Soup"], "hot": ["yes", "perhaps", None]})
    assert encoder.transform(others).tolist() == [[-1, 1], [-1, -1], [2, -1]]


def test_a_missing_text_of_the_training_rows_is_no_category() -> None:
    encoder = CatToIntTransformer().fit(pd.DataFrame({"dish": ["Soup", None, "Bread"]}))
    assert encoder.categories_ == [["Bread", "Soup"]]


def test_a_text_that_stands_for_a_missing_one_is_minus_one() -> None:
    rows = pd.DataFrame({"dish": ["Unknown", "Bread", "Soup"]})
    assert CatToIntTransformer("Unknown").fit(rows).transform(rows).tolist() == [[-1], [0], [1]]
    assert CatToIntTransformer().fit(rows).transform(rows).tolist() == [[2], [0], [1]]


def test_columns_are_found_by_name() -> None:
    encoder = CatToIntTransformer().fit(TRAINING)
    assert np.array_equal(encoder.transform(TRAINING[["hot", "dish"]]), encoder.transform(TRAINING))
    assert encoder.get_feature_names_out().tolist() == ["dish", "hot"]


def test_whole_numbers_are_encoded_too() -> None:
    numbers = pd.DataFrame({"magic": [1, 0, 7]})
    assert CatToIntTransformer().fit(numbers).transform(numbers).tolist() == [[1], [0], [2]]


def test_an_encoder_must_be_fitted_first() -> None:
    with pytest.raises(NotFittedError):
        CatToIntTransformer().transform(TRAINING)
