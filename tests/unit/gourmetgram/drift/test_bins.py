"""Bins of the features, from the training side."""

import numpy as np
import pytest

from gourmetgram.drift.bins import COMPARED, QUANTILE_BINS, FeatureBins, Histograms, compared_columns, feature_bins
from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, UNKNOWN_CATEGORY

LENGTH = COMPARED.index("caption_length")


def matrix(rows: int) -> np.ndarray:
    return np.zeros((rows, len(FEATURE_NAMES)), dtype=np.float32)


def bins_of(*values: float, weights: list[float] | None = None) -> FeatureBins:
    """The bins of `caption_length` with these training values."""
    rows = np.zeros((len(values), len(COMPARED)), dtype=np.float32)
    rows[:, LENGTH] = values
    return feature_bins(rows, np.array(weights or [1.0] * len(values)))[LENGTH]


def count(bins: FeatureBins, *values: float) -> list[float]:
    return list(bins.count_rows(np.array(values, dtype=np.float32)))


def test_ten_bins_hold_a_tenth_of_the_training_rows_each() -> None:
    bins = bins_of(*range(1000))
    assert count(bins, *range(1000)) == [100.0] * QUANTILE_BINS
    # Values outside of the training side count in the first and the last bin.
    assert count(bins, -5, 5000) == [1, *[0] * 8, 1]
    assert bins.labels[0] == "up to 99" and bins.labels[1] == "99 to 199" and bins.labels[-1] == "above 899"


def test_a_value_of_many_rows_makes_fewer_bins() -> None:
    bins = bins_of(*[0] * 800, *range(1, 201))
    assert bins.cuts.tolist() == [0, 100]
    assert count(bins, 0, 0, 1, 100, 101) == [2, 2, 1]


def test_up_to_ten_values_are_a_bin_each_and_others_have_their_own() -> None:
    bins = bins_of(3, 1, 1, 2)
    assert (bins.by_value, bins.labels) == (True, ["1", "2", "3", "other"])
    assert count(bins, 1, 3, 3, 2.5, -1, 9) == [1, 0, 2, 3]


def test_weights_move_the_limits() -> None:
    values = [*range(100), *range(1000, 1100)]
    even, heavy = bins_of(*values), bins_of(*values, weights=[9.0] * 100 + [1.0] * 100)
    assert (even.cuts < 1000).sum() == 5
    assert (heavy.cuts < 1000).sum() == 9


def test_the_category_is_one_feature_with_a_bin_for_none() -> None:
    vectors = matrix(len(CATEGORIES) + 1)
    for number in range(len(CATEGORIES)):
        vectors[number, len(FEATURE_NAMES) - len(CATEGORIES) + number] = 1
    rows = compared_columns(vectors)
    bins = feature_bins(rows, np.ones(len(rows)))[-1]
    assert bins.name == "category"
    assert bins.labels == [*CATEGORIES, UNKNOWN_CATEGORY]
    assert list(bins.count_rows(rows[:, -1])) == [1.0] * 12


def test_a_mix_of_decision_points_keeps_the_total_and_takes_the_shares() -> None:
    rows = compared_columns(matrix(4))
    bins = feature_bins(rows, np.ones(4))
    found = Histograms(bins)
    found.add(0, rows)
    later = rows.copy()
    later[:, LENGTH] = 7
    found.add(5, np.concatenate([later, later, later]))
    found.add(30, rows[:0])
    assert found.rows == {0: 4, 5: 12}
    # A quarter of the rows is of the point 0; with equal shares it is half.
    assert list(found.mixed(LENGTH, {0: 10, 5: 10})) == pytest.approx([8, 8])
    assert list(found.mixed(LENGTH, {0: 4, 5: 12})) == pytest.approx([4, 12])
    assert list(found.mixed(LENGTH, {5: 1})) == pytest.approx([0, 12])


def test_rows_of_one_image_count_once_and_a_heavy_small_point_lowers_the_number() -> None:
    rows = compared_columns(matrix(900))
    found = Histograms(feature_bins(rows, np.ones(len(rows))))
    for minutes, number in ((0, 900), (5, 900), (30, 9)):
        found.add(minutes, rows[:number])
    assert found.images({0: 1}) == 900
    assert found.images({0: 50, 5: 50}) == 900
    assert found.images({0: 1, 30: 99}) == pytest.approx(9, rel=0.05)
