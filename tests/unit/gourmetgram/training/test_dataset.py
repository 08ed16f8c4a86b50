"""Rows of the training table as vectors: the same that the scorer makes."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.features.definition import (
    CATEGORIES,
    NUMERIC_FEATURES,
    FeatureInputs,
    feature_dict,
    feature_vector,
)
from gourmetgram.features.matrix import matrix_of_vectors
from gourmetgram.training.dataset import FEATURE_COLUMNS, UnusableDataError, vectors
from gourmetgram.training_data.table import ARROW_SCHEMA
from tests.support.training_rows import training_row

UPLOADED = datetime(2026, 3, 4, 12, tzinfo=UTC)
UPLOAD_US = 1_772_625_600_000_000
COUNTS = st.integers(0, 10_000)


def batch_of(*rows: dict[str, Any]) -> pa.RecordBatch:
    (batch,) = pa.Table.from_pylist(list(rows), schema=ARROW_SCHEMA).to_batches()
    return batch.select(list(FEATURE_COLUMNS))


@given(
    counts=st.lists(st.tuples(*[COUNTS] * 9), min_size=1, max_size=5),
    category=st.sampled_from([*CATEGORIES, "Unknown", "bread"]),
)
def test_stored_rows_give_the_vectors_that_they_were_stored_from(counts: list[tuple[int, ...]], category: str) -> None:
    scored = [
        feature_vector(
            FeatureInputs._make((UPLOAD_US, UPLOAD_US + 300_000_000, *each, UPLOAD_US - 2_000_000_000_000, category))
        )
        for each in counts
    ]
    stored = [
        training_row("an image", UPLOADED, 5, category=category)
        | {name: value for name, value in feature_dict(vector).items() if name in NUMERIC_FEATURES}
        for vector in scored
    ]
    assert np.array_equal(vectors(batch_of(*stored)), matrix_of_vectors(scored))


def test_a_missing_value_is_refused() -> None:
    row = training_row("an image", UPLOADED) | {"views_1hr": None}
    with pytest.raises(UnusableDataError, match="without views_1hr"):
        vectors(batch_of(row))


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UnusableDataError, match="not finite"):
        vectors(batch_of(training_row("an image", UPLOADED, comment_to_view_ratio=float("nan"))))


def test_a_missing_category_is_none_of_the_eleven() -> None:
    row = training_row("an image", UPLOADED) | {"category": None}
    assert vectors(batch_of(row))[0, 18:].tolist() == [0.0] * 11
