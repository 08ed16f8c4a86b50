"""The gate before publishing: a candidate must be better than the served model on images that neither has learned from.

The figure is the average precision, because flagged images are rare and a moderator reads the top of the list. When it
is equal, the lower log-loss is better. Equal in both is not better.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple

from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError
from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import check_package
from gourmetgram.moments import utc_text
from gourmetgram.training.dataset import TrainingRows, open_training_table
from gourmetgram.training.evaluation import HeldOutScores, Metrics, measure, score_held_out
from gourmetgram.training.origin import origin_of
from gourmetgram.training.split import Split
from gourmetgram.training.trainer import Balance

RULES_NAME: Final = "the rules (policy v1)"


class LaterImages(NamedTuple):
    """Figures of a gate on the same rows.

    Attributes:
        snapshot_id: Iceberg snapshot of the rows.
        uploaded_from: the rows are of images uploaded from then on.
        horizon_minutes: label horizon of the candidate.
        balance: number of rows by class.
        candidate: metrics of the candidate.
        served: metrics of the model in use; None when the rules decide.
        rules: metrics of policy v1.
    """

    snapshot_id: int
    uploaded_from: datetime
    horizon_minutes: int
    balance: Balance
    candidate: Metrics
    served: Metrics | None
    rules: Metrics

    def document(self) -> dict[str, Any]:
        """Document for metadata.json and reports."""
        return {
            "snapshot_id": str(self.snapshot_id),
            "uploaded_from": utc_text(self.uploaded_from),
            "label_horizon_minutes": self.horizon_minutes,
            "rows": self.balance.document(),
            "candidate": _figures(self.candidate),
            "served": _figures(self.served) if self.served else None,
            "heuristic": _figures(self.rules),
        }


class GateDecision(NamedTuple):
    """Decision about a candidate.

    Attributes:
        passed: True when the candidate is better.
        reason: the comparison in words.
        figures: the figures; None when no comparison was possible.
    """

    passed: bool
    reason: str
    figures: LaterImages | None

    def document(self) -> dict[str, Any]:
        """Document for metadata.json and reports."""
        return {
            "passed": self.passed,
            "reason": self.reason,
            **({} if self.figures is None else self.figures.document()),
        }


def better_on_later_images(catalog: Catalog, candidate: ModelPackage, served: ModelPackage | None) -> GateDecision:
    """Compare a candidate with the model in use, or with the rules when there is none.

    The rows are those of the newest snapshot whose images were uploaded after the splits of both models, so neither
    model has seen them. Their labels have the candidate's horizon.

    Args:
        catalog: the Iceberg catalog.
        candidate: a model that the scorer would accept.
        served: the model in use.

    Returns:
        The decision. Without a possible comparison it is not passed: a metric is undefined, the table has no usable
        rows, or the served model does not say what it has learned from.

    Raises:
        ArtifactError: the scorer would refuse the candidate.
        TransientError: the catalog or the object store is away.
    """
    check_package(candidate)
    try:
        figures = _figures_of(catalog, candidate, served)
    except PermanentError as error:
        return GateDecision(False, f"no comparison was possible: {error}", None)
    version = "" if served is None else f"version {served.metadata['version']}"
    return _decided(figures, version or RULES_NAME)


def _figures_of(catalog: Catalog, candidate: ModelPackage, served: ModelPackage | None) -> LaterImages:
    origin = origin_of(candidate.metadata, "The candidate")
    start = origin.held_out_from
    if served is not None:
        start = max(start, origin_of(served.metadata, "The model in use").held_out_from)
    table = open_training_table(catalog)
    rows = table.rows(origin.label_horizon_minutes)
    scores = _scores(rows, start, candidate)
    return LaterImages(
        snapshot_id=table.snapshot_id,
        uploaded_from=start,
        horizon_minutes=origin.label_horizon_minutes,
        balance=scores.balance,
        candidate=measure(scores.labels, scores.model),
        served=None if served is None else _measured(_scores(rows, start, served)),
        rules=measure(scores.labels, scores.rules),
    )


def _scores(rows: TrainingRows, start: datetime, package: ModelPackage) -> HeldOutScores:
    return score_held_out(rows, Split(start, 0, 0), check_package(package))


def _measured(scores: HeldOutScores) -> Metrics:
    return measure(scores.labels, scores.model)


def _decided(figures: LaterImages, opponent: str) -> GateDecision:
    mine, theirs = figures.candidate, figures.served or figures.rules
    if mine.average_precision is None or theirs.average_precision is None:
        why = mine.undefined.get("average_precision", "a figure is not defined")
        return GateDecision(False, f"average precision is undefined: {why}", figures)
    rows = f"on {figures.balance.rows:,} later rows"
    if mine.average_precision != theirs.average_precision:
        passed = mine.average_precision > theirs.average_precision
        words = _words("average precision", mine.average_precision, theirs.average_precision)
        return GateDecision(passed, f"{words} of {opponent} {rows}", figures)
    # The log-loss is defined wherever the average precision is.
    loss, other = float(mine.log_loss or 0), float(theirs.log_loss or 0)
    equal = f"average precision {mine.average_precision:.6f} is equal, and {_words('log-loss', loss, other)}"
    return GateDecision(loss < other, f"{equal} of {opponent} {rows}", figures)


def _words(figure: str, mine: float, theirs: float) -> str:
    relation = "above" if mine > theirs else "below" if mine < theirs else "equal to"
    return f"{figure} {mine:.6f} is {relation} the {theirs:.6f}"


def _figures(metrics: Metrics) -> dict[str, object]:
    """The figures without the bins of the calibration."""
    return {name: value for name, value in metrics.document().items() if name != "calibration"}
