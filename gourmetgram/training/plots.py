"""The plots of the notebook and of the comparison report.

The functions return figures; they neither show nor save them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from gourmetgram.policy.recommendation import FLAG_ABOVE, REVIEW_FROM
from gourmetgram.training.evaluation import Metrics, Scores
from gourmetgram.training.horizon import Integers
from gourmetgram.training.memory import MemoryCurve

MODEL_COLOUR: Final = "#2b6cb0"
RULES_COLOUR: Final = "#dd6b20"

_COLOURS: Final = {"model": MODEL_COLOUR, "rules (v1)": RULES_COLOUR, "rules": RULES_COLOUR}
_BINS: Final = 20


def score_distributions(scores: Mapping[str, Scores], labels: Integers | None = None) -> Figure:
    """A histogram of each name's scores; with labels, flagged and unflagged rows apart."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axis, (name, values) in zip(axes, scores.items(), strict=True):
        if labels is None:
            axis.hist(values, bins=_BINS, range=(0, 1), color=_COLOURS[name])
        else:
            groups = {"not flagged": values[labels == 0], "flagged": values[labels == 1]}
            axis.hist(
                list(groups.values()),
                bins=_BINS,
                range=(0, 1),
                stacked=True,
                label=list(groups),
                color=["#a0aec0", _COLOURS[name]],
            )
            axis.legend(frameon=False)
        for limit in (REVIEW_FROM, FLAG_ABOVE):
            axis.axvline(limit, color="black", linewidth=0.8, linestyle=":")
        _named(axis, f"Scores of {name}", "score (dotted: REVIEW from 0.3, FLAG above 0.7)", "rows")
    return figure


def precision_recall(labels: Integers, scores: Mapping[str, Scores], metrics: Sequence[Metrics]) -> Figure:
    """The precision-recall curve of each name; an empty plot with the reason when it is not defined."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    for (name, values), found in zip(scores.items(), metrics, strict=True):
        if found.average_precision is None:
            reason = found.undefined.get("average_precision", "")
            axis.text(0.5, 0.5, f"not defined: {reason}", ha="center", va="center", wrap=True)
            continue
        precision, recall, _ = precision_recall_curve(labels, values)
        label = f"{name}, AP {found.average_precision:.3f}"
        axis.step(recall, precision, where="post", color=_COLOURS[name], label=label)
    if len(labels):
        axis.axhline(float(labels.mean()), color="grey", linewidth=0.8, linestyle=":", label="flagging at random")
        axis.legend(frameon=False)
    axis.set(xlim=(0, 1.02), ylim=(0, 1.05))
    _named(axis, "Precision and recall", "recall: share of the flagged images found", "precision")
    return figure


def calibration(metrics: Mapping[str, Metrics]) -> Figure:
    """Share of flagged images at each score; on the diagonal a score is a probability."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":", label="perfectly calibrated")
    for name, found in metrics.items():
        scores = [each.mean_score for each in found.calibration]
        shares = [each.share_positive for each in found.calibration]
        axis.plot(scores, shares, marker="o", color=_COLOURS[name], label=name)
    axis.legend(frameon=False)
    _named(axis, "Calibration", "mean score of the rows in a bin", "share of them that was flagged")
    return figure


def memory_curve(curve: MemoryCurve) -> Figure:
    """Memory in use against rows, with the limit as a line."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axis = figure.subplots()
    millions = [rows / 1e6 for rows in curve.rows]
    axis.plot(millions, curve.used_mb, color=MODEL_COLOUR, label="memory in use")
    top = max(curve.used_mb, default=0.0)
    if curve.limit_mb is not None:
        axis.axhline(curve.limit_mb, color="#c53030", linewidth=1.2, linestyle="--", label="limit of the container")
        top = max(top, curve.limit_mb)
    axis.set_ylim(0, 1.15 * top or 1)
    axis.legend(frameon=False, loc="upper right")
    _named(axis, "Memory while streaming", "rows (millions)", "MB")
    return figure


def _named(axis: Axes, title: str, x_label: str, y_label: str) -> None:
    axis.set_title(title)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.spines[["top", "right"]].set_visible(False)
