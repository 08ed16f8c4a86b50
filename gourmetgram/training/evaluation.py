"""Metrics of model and rules on the same held-out rows."""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.features.matrix import FeatureMatrix
from gourmetgram.models.artifacts import ServingModel
from gourmetgram.policy.heuristic import PolicyVersion, judge
from gourmetgram.policy.recommendation import FLAG_ABOVE, REVIEW_FROM, SCORE_DECIMALS, Recommendation, recommend
from gourmetgram.training.dataset import TrainingRows
from gourmetgram.training.horizon import Flags, Integers
from gourmetgram.training.split import Split
from gourmetgram.training.trainer import Balance

RULES: Final[PolicyVersion] = "v1"
"""The policy that every model is compared with."""

SMALLEST_PROBABILITY: Final = 1e-6
"""Scores are clipped to [this, 1 - this]: a rule's 0 for a flagged image would give an infinite log-loss."""

CALIBRATION_BINS: Final = 10

FIGURES: Final = {
    "auc": ("AUC", "higher"),
    "average_precision": ("average precision", "higher"),
    "log_loss": ("log-loss", "lower"),
    "brier": ("Brier score", "lower"),
    "calibration_error": ("calibration error", "lower"),
}
"""The figures of `Metrics` in its order: name for people, and the better direction."""

Scores: TypeAlias = NDArray[np.float64]


class HeldOutScores(NamedTuple):
    """Scores of the n held-out rows by model and rules.

    Attributes:
        image_ids: n texts.
        minutes: decision points, shape (n,).
        labels: 0 or 1, shape (n,).
        model: probability of class 1 by the model, shape (n,).
        rules: score of policy v1, shape (n,).
        balance: number of rows by class.
    """

    image_ids: list[str]
    minutes: Integers
    labels: Integers
    model: Scores
    rules: Scores
    balance: Balance


class CalibrationBin(NamedTuple):
    """Rows with similar scores.

    Attributes:
        mean_score: mean of the scores.
        share_positive: share of rows with label 1.
        rows: number of rows.
    """

    mean_score: float
    share_positive: float
    rows: int


class Metrics(NamedTuple):
    """Quality of scores. A figure that is not defined on these rows is None; `undefined` has the reason by name.

    Attributes:
        auc: area under the ROC curve: how often a flagged image is ranked above an unflagged one.
        average_precision: area under the precision-recall curve.
        log_loss: mean negative log-likelihood (natural logarithm) of the labels, scores clipped to (0, 1).
        brier: mean squared difference of score and label.
        calibration_error: mean distance between score and share of positives over ten bins, weighted by rows.
        calibration: the bins that hold rows.
        undefined: reason by the name of a figure.
    """

    auc: float | None
    average_precision: float | None
    log_loss: float | None
    brier: float | None
    calibration_error: float | None
    calibration: tuple[CalibrationBin, ...]
    undefined: dict[str, str]

    def document(self) -> dict[str, object]:
        """Document for `metadata.json`."""
        return {**self._asdict(), "calibration": [found._asdict() for found in self.calibration]}


class Confusion(NamedTuple):
    """Numbers of rows by label and decision, for a decision that selects some of the rows.

    Attributes:
        caught: flagged rows that were selected (true positives).
        false_alarms: unflagged rows that were selected (false positives).
        missed: flagged rows that were not selected (false negatives).
        left_alone: unflagged rows that were not selected (true negatives).
    """

    caught: int
    false_alarms: int
    missed: int
    left_alone: int

    @property
    def precision(self) -> float | None:
        """Share of the selected rows that were flagged; None without a selected row."""
        selected = self.caught + self.false_alarms
        return self.caught / selected if selected else None

    @property
    def recall(self) -> float | None:
        """Share of the flagged rows that were selected; None without a flagged row."""
        flagged = self.caught + self.missed
        return self.caught / flagged if flagged else None


def score_held_out(rows: TrainingRows, split: Split, model: ServingModel) -> HeldOutScores:
    """Score the held-out rows by the model, exactly as it would be served, and by the rules."""
    ids: list[pa.Array] = []
    columns: list[tuple[NDArray[np.generic], ...]] = []
    balance = Balance()
    for examples in map(split.held_out, rows.examples(with_ids=True, row_filter=split.held_out_files)):
        if not len(examples.labels) or examples.image_ids is None:
            continue
        ids.append(examples.image_ids)
        scores = model.predict(examples.matrix), rule_scores(examples.matrix)
        columns.append((examples.minutes, examples.labels, *scores))
        balance = balance.with_examples(examples)
    if not columns:
        no_rows, no_scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
        return HeldOutScores([], no_rows, no_rows, no_scores, no_scores, balance)
    minutes, labels, by_model, by_rules = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    texts: list[str] = pa.chunked_array(ids).to_pylist()
    return HeldOutScores(texts, minutes, labels, by_model, by_rules, balance)


def rule_scores(matrix: FeatureMatrix, policy: PolicyVersion = RULES) -> Scores:
    """The score of the rules for each row of a matrix of shape (n, 29): shape (n,)."""
    rows: Iterator[list[float]] = iter(matrix.tolist())
    return np.array([judge(policy, dict(zip(FEATURE_NAMES, row, strict=True))).score for row in rows], dtype=np.float64)


def measure(labels: Integers, scores: Scores) -> Metrics:
    """Compare scores in [0, 1] with labels 0 and 1, both of shape (n,); n may be 0."""
    if not len(labels):
        reason = "there are no held-out rows with a label"
        names = ("auc", "average_precision", "log_loss", "brier", "calibration_error")
        return Metrics(None, None, None, None, None, (), dict.fromkeys(names, reason))
    clipped = np.clip(scores, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    classes = np.unique(labels)
    undefined = {}
    if len(classes) == 1:
        reason = f"the held-out rows are all of class {classes[0]}"
        undefined = dict.fromkeys(("auc", "average_precision"), reason)
    bins = calibration(labels, clipped)
    distances = sum(found.rows * abs(found.mean_score - found.share_positive) for found in bins)
    return Metrics(
        auc=None if undefined else float(roc_auc_score(labels, clipped)),
        average_precision=None if undefined else float(average_precision_score(labels, clipped)),
        log_loss=float(log_loss(labels, clipped, labels=[0, 1])),
        brier=float(brier_score_loss(labels, clipped, pos_label=1)),
        calibration_error=distances / len(labels),
        calibration=bins,
        undefined=undefined,
    )


def confusions(labels: Integers, scores: Scores) -> dict[str, Confusion]:
    """Confusion at both thresholds of the recommendation, by a name for people.

    Args:
        labels: 0 or 1, shape (n,).
        scores: in [0, 1], shape (n,).
    """
    found: list[Recommendation] = [recommend(score) for score in scores.tolist()]
    recommended = np.array(found, dtype=np.str_)
    return {
        f"REVIEW or FLAG (from {REVIEW_FROM})": _confusion(labels, recommended != "SAFE"),
        f"FLAG (above {FLAG_ABOVE})": _confusion(labels, recommended == "FLAG"),
    }


def _confusion(labels: Integers, selected: Flags) -> Confusion:
    flagged = labels == 1
    return Confusion(
        caught=int((selected & flagged).sum()),
        false_alarms=int((selected & ~flagged).sum()),
        missed=int((~selected & flagged).sum()),
        left_alone=int((~selected & ~flagged).sum()),
    )


def calibration(labels: Integers, scores: Scores, bins: int = CALIBRATION_BINS) -> tuple[CalibrationBin, ...]:
    """Rows grouped by score into equally wide bins; bins without rows are left out.

    The source of the measure: M. P. Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning"
    (2015), section "Calibration measures".
    """
    number = np.minimum((scores * bins).astype(np.int64), bins - 1)
    found = []
    for each in np.unique(number):
        chosen = number == each
        found.append(CalibrationBin(float(scores[chosen].mean()), float(labels[chosen].mean()), int(chosen.sum())))
    return tuple(found)


def decimals(value: float | None) -> str:
    """A figure for people; `undefined` for None."""
    return "undefined" if value is None else f"{value:.{min(SCORE_DECIMALS, 4)}f}"
