"""Bins of the features, made from the training side."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gourmetgram.drift.stability import Counts
from gourmetgram.features.definition import CATEGORIES, NUMERIC_FEATURES, UNKNOWN_CATEGORY
from gourmetgram.features.matrix import FeatureMatrix

COMPARED: Final = (*NUMERIC_FEATURES, "category")
"""Names of the compared features: the eleven columns of the category are one feature."""

QUANTILE_BINS: Final = 10

Columns = NDArray[np.float32]
"""Shape (rows, 19), in the order of `COMPARED`; the category as its index in `CATEGORIES`, 11 for any other."""

_NUMERIC: Final = len(NUMERIC_FEATURES)


class FeatureBins(NamedTuple):
    """Bins of one feature.

    Attributes:
        name: name of the feature.
        by_value: True when each bin holds one value, and the last one every other value.
        cuts: the values, or the upper ends of all bins but the last; sorted.
    """

    name: str
    by_value: bool
    cuts: NDArray[np.float32]

    def count_rows(self, values: NDArray[np.float32]) -> Counts:
        """Rows by bin, shape (len(cuts) + 1,).

        Args:
            values: values of the feature, shape (rows,).
        """
        places = np.searchsorted(self.cuts, values, side="left")
        if self.by_value:
            known = self.cuts[np.minimum(places, len(self.cuts) - 1)] == values
            places = np.where(known, places, len(self.cuts))
        counts: Counts = np.bincount(places, minlength=len(self.cuts) + 1).astype(np.float64)
        return counts

    @property
    def labels(self) -> list[str]:
        """Texts for people, one a bin."""
        if self.name == "category":
            return [*CATEGORIES, UNKNOWN_CATEGORY]
        cuts = [f"{cut:.0f}" if cut == int(cut) else f"{cut:.3g}" for cut in self.cuts.tolist()]
        if self.by_value:
            return [*cuts, "other"]
        between = [f"{low} to {high}" for low, high in itertools.pairwise(cuts)]
        return [f"up to {cuts[0]}", *between, f"above {cuts[-1]}"]


def compared_columns(matrix: FeatureMatrix) -> Columns:
    """The compared features of rows.

    Args:
        matrix: feature vectors, shape (rows, 29).
    """
    of_category = matrix[:, _NUMERIC:]
    category = np.where(of_category.any(axis=1), of_category.argmax(axis=1), len(CATEGORIES))
    return np.column_stack([matrix[:, :_NUMERIC], category.astype(np.float32)])


def feature_bins(rows: Columns, weights: NDArray[np.float64]) -> list[FeatureBins]:
    """Bins of each feature of `COMPARED`.

    A numeric feature gets ten bins with a tenth of the training rows each, or fewer when one value has more than that.
    With at most ten different values, each value is a bin.

    Args:
        rows: training rows, or a sample of them; at least one.
        weights: weight of each row, shape (rows,).
    """
    numeric = [_numeric_bins(name, rows[:, number], weights) for number, name in enumerate(NUMERIC_FEATURES)]
    categories = np.arange(len(CATEGORIES), dtype=np.float32)
    return [*numeric, FeatureBins(COMPARED[-1], by_value=True, cuts=categories)]


def _numeric_bins(name: str, values: NDArray[np.float32], weights: NDArray[np.float64]) -> FeatureBins:
    distinct = np.unique(values)
    if len(distinct) <= QUANTILE_BINS:
        return FeatureBins(name, by_value=True, cuts=distinct)
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    wanted = np.arange(1, QUANTILE_BINS) / QUANTILE_BINS * reached[-1]
    # The sum of many weights is not exact: without the margin, a cut could come one row late.
    ends = values[order][np.searchsorted(reached, wanted - reached[-1] * 1e-9)]
    return FeatureBins(name, by_value=False, cuts=np.unique(ends))


class Histograms:
    """Rows by bin, for each decision point and feature.

    Args:
        bins: bins of each feature.

    Attributes:
        rows: number of counted rows by decision point.
    """

    def __init__(self, bins: Sequence[FeatureBins]) -> None:
        self._bins = bins
        self._counts: dict[int, list[Counts]] = {}
        self.rows: dict[int, int] = {}

    def add(self, minutes: int, rows: Columns) -> None:
        """Count rows of a decision point, which is given in minutes after the upload."""
        if not len(rows):
            return
        counted = [bins.count_rows(rows[:, number]) for number, bins in enumerate(self._bins)]
        before = self._counts.get(minutes)
        self._counts[minutes] = counted if before is None else [a + b for a, b in zip(before, counted, strict=True)]
        self.rows[minutes] = self.rows.get(minutes, 0) + len(rows)

    def mixed(self, feature: int, mix: Mapping[int, int]) -> Counts:
        """Counts of a feature, weighted so that the decision points have the shares of `mix`; the total stays.

        Args:
            feature: position in `COMPARED`.
            mix: rows by decision point; each was counted here.
        """
        total, of_mix = sum(self.rows[minutes] for minutes in mix), sum(mix.values())
        parts = [
            self._counts[minutes][feature] * (share / of_mix * total / self.rows[minutes])
            for minutes, share in mix.items()
        ]
        counts: Counts = np.sum(parts, axis=0)
        return counts

    def images(self, mix: Mapping[int, int]) -> float:
        """Number of images that tell as much about a feature as these rows with the weights of `mix`.

        The rows of one image at several decision points are alike, so they count as one. A decision point with few rows
        but a large weight lowers the number.

        Args:
            mix: rows by decision point; each was counted here.
        """
        variance = sum((share / sum(mix.values())) ** 2 / self.rows[minutes] for minutes, share in mix.items())
        return min(max(self.rows[minutes] for minutes in mix), 1 / variance)
