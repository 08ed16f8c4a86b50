"""Examples as a data frame."""

import numpy as np
import pyarrow as pa

from gourmetgram.features.definition import NUMERIC_FEATURES
from gourmetgram.training.dataset import LABEL, Examples, vectors
from gourmetgram.training.frame import FRAME_COLUMNS, examples_frame
from tests.support.training_rows import training_row
from tests.unit.gourmetgram.training.test_dataset import UPLOADED, batch_of


def examples(batch: pa.RecordBatch, *labels: int) -> Examples:
    none = np.zeros(len(labels), dtype=np.int64)
    return Examples(vectors(batch), np.array(labels), none, none, None)


def test_numbers_are_exactly_those_of_the_vectors() -> None:
    batch = batch_of(training_row("a", UPLOADED, view_velocity_per_min=0.1, user_age_days=123_456_789))
    frame = examples_frame([examples(batch, 1)])
    assert list(frame.columns) == list(FRAME_COLUMNS)
    numbers = frame[list(NUMERIC_FEATURES)]
    assert set(numbers.dtypes) == {np.dtype("float64")}
    assert np.array_equal(numbers.to_numpy(), vectors(batch)[:, :18].astype(np.float64))
    assert frame["view_velocity_per_min"].tolist() == [0.10000000149011612]


def test_categories_are_texts_and_batches_keep_their_order() -> None:
    parts = ((("Vegetable/Fruit", "Unknown"), (0, 1)), (("Bread",), (1,)))
    batches = [
        examples(batch_of(*(training_row("a", UPLOADED, category=name) for name in names)), *labels)
        for names, labels in parts
    ]
    frame = examples_frame(batches)
    assert frame["category"].tolist() == ["Vegetable/Fruit", "Unknown", "Bread"]
    assert frame[LABEL].tolist() == [0, 1, 1]


def test_no_rows_give_an_empty_frame() -> None:
    frame = examples_frame([])
    assert list(frame.columns) == list(FRAME_COLUMNS)
    assert len(frame) == 0
