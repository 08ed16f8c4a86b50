"""Fits scaler and model over streamed batches: the memory is that of one batch, for a table of any length."""

from collections.abc import Callable
from math import ceil
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gourmetgram.features.definition import CATEGORIES, NUMERIC_FEATURES
from gourmetgram.features.matrix import FeatureMatrix
from gourmetgram.training.dataset import HOW_TO_FILL, Examples, TrainingRows, UnusableDataError
from gourmetgram.training.split import Split

MIN_PASSES: Final = 3
MAX_PASSES: Final = 30

# The guide of scikit-learn ("Stochastic Gradient Descent, Tips on Practical Use"): SGD converges after about 10^6 rows.
_ROWS_TO_CONVERGE: Final = 1_000_000
CLASSES: Final = np.array([0, 1])

_NUMERIC: Final = len(NUMERIC_FEATURES)

TrainingReport = Callable[[str], None]
"""Callback that gets a line about each step, for people who wait."""


class Balance(NamedTuple):
    """Number of examples of each class.

    Attributes:
        negative: class 0, not flagged within the horizon.
        positive: class 1, flagged within the horizon.
    """

    negative: int = 0
    positive: int = 0

    @property
    def rows(self) -> int:
        """Number of examples of both classes."""
        return sum(self)

    def with_examples(self, examples: Examples) -> "Balance":
        """The counts plus those of a batch."""
        positive = int(examples.labels.sum())
        return Balance(self.negative + len(examples.labels) - positive, self.positive + positive)

    def document(self) -> dict[str, int]:
        """Document for `metadata.json`."""
        return {"0": self.negative, "1": self.positive}


class FittedScaler(NamedTuple):
    """Result of the first pass over the training examples.

    Attributes:
        scaler: knows mean and spread of features 1-18.
        balance: number of examples by class.
        batches: number of batches.
    """

    scaler: StandardScaler
    balance: Balance
    batches: int


def quiet(_: str) -> None:
    """Drop the text."""


def fit_scaler(rows: TrainingRows, split: Split, report: TrainingReport = quiet) -> FittedScaler:
    """Fit the scaler of the numeric features over all training batches.

    Raises:
        UnusableDataError: the training examples are all of one class.
    """
    scaler, balance, batches = StandardScaler(), Balance(), 0
    for examples in map(split.train, rows.examples()):
        if not len(examples.labels):
            continue
        scaler.partial_fit(examples.matrix[:, :_NUMERIC])
        balance, batches = balance.with_examples(examples), batches + 1
        report(f"{balance.rows:,} rows, batch {batches}")
    _refuse_one_class(balance, rows.horizon_minutes)
    return FittedScaler(scaler, balance, batches)


def fit_model(
    rows: TrainingRows, split: Split, scaler: StandardScaler, passes: int, report: TrainingReport = quiet
) -> SGDClassifier:
    """Fit a logistic regression by stochastic gradient descent, in several passes over the training batches."""
    model = SGDClassifier(loss="log_loss", random_state=42)
    for number in range(1, passes + 1):
        seen = 0
        for examples in map(split.train, rows.examples()):
            if not len(examples.labels):
                continue
            model.partial_fit(model_columns(scaler, examples.matrix), examples.labels, classes=CLASSES)
            seen += len(examples.labels)
            report(f"pass {number} of {passes}, {seen:,} rows")
    return model


def enough_passes(rows: int) -> int:
    """Number of passes for a table of this many training rows; a short table needs more."""
    return min(max(ceil(_ROWS_TO_CONVERGE / max(rows, 1)), MIN_PASSES), MAX_PASSES)


def category_encoder() -> OneHotEncoder:
    """Encoder of a category's text into features 19-29; an unknown text becomes zeros. Independent of any data."""
    encoder = OneHotEncoder(categories=[list(CATEGORIES)], handle_unknown="ignore", sparse_output=False)
    return encoder.fit(np.array([[name] for name in CATEGORIES], dtype=object))


def model_columns(scaler: StandardScaler, matrix: FeatureMatrix) -> NDArray[np.float32]:
    """Model inputs of vectors: features 1-18 scaled, 19-29 unchanged."""
    return np.hstack([scaler.transform(matrix[:, :_NUMERIC]), matrix[:, _NUMERIC:]])


def _refuse_one_class(balance: Balance, horizon_minutes: int) -> None:
    if balance.positive and balance.negative:
        return
    only, missing = ("1", "unflagged") if balance.positive else ("0", "flagged")
    raise UnusableDataError(
        f"The {balance.rows} training rows are all of class {only} with a label horizon of {horizon_minutes} minutes: "
        f"a model needs {missing} images to learn from, too. Leave LABEL_HORIZON_MINUTES empty or set another one. "
        f"{HOW_TO_FILL}"
    )
