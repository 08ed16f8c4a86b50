"""The population stability index: values by hand, its edges, and what chance makes of it."""

import numpy as np
import pytest

from gourmetgram.drift.bins import QUANTILE_BINS
from gourmetgram.drift.stability import DRIFTED_ABOVE, MIN_IMAGES, harmonic_number, stability_terms


def counts(*rows: float) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def test_the_index_is_the_sum_that_a_person_computes() -> None:
    # Shares 0.5 and 0.25 in one bin, so 0.5 and 0.75 in the other; half a row more does not matter here.
    terms = stability_terms(counts(5e9, 5e9), counts(2.5e9, 7.5e9))
    assert terms.tolist() == pytest.approx([0.25 * np.log(2), -0.25 * np.log(2 / 3)])
    assert terms.sum() == pytest.approx(0.274653, abs=1e-6)


def test_half_a_row_is_added_to_each_bin_so_that_an_empty_one_has_a_finite_term() -> None:
    terms = stability_terms(counts(10, 0), counts(6, 4))
    p, q = 10.5 / 11, 6.5 / 11
    assert terms.tolist() == pytest.approx([(p - q) * np.log(p / q), (q - p) * np.log((1 - p) / (1 - q))])


def test_both_directions_give_the_same_index() -> None:
    one, other = counts(10, 20, 70), counts(30, 30, 40)
    assert stability_terms(one, other).sum() == pytest.approx(stability_terms(other, one).sum())


def test_one_bin_on_both_sides_is_no_distance_whatever_the_numbers() -> None:
    assert stability_terms(counts(3, 0, 0), counts(4000, 0, 0)).tolist() == [0, 0, 0]


def test_the_same_shares_are_nearly_no_distance() -> None:
    assert stability_terms(counts(100, 300), counts(1000, 3000)).sum() < 1e-5


@pytest.mark.parametrize(("training", "served"), [(2 * MIN_IMAGES, 2 * MIN_IMAGES), (10 * MIN_IMAGES, 178)])
def test_chance_alone_does_not_reach_the_limit_from_the_smallest_number_of_images_on(
    training: int, served: int
) -> None:
    assert harmonic_number(training, served) >= MIN_IMAGES
    random = np.random.default_rng(7)
    equal = np.full(QUANTILE_BINS, 1 / QUANTILE_BINS)
    found = [
        stability_terms(
            random.multinomial(training, equal).astype(np.float64), random.multinomial(served, equal).astype(np.float64)
        ).sum()
        for _ in range(2_000)
    ]
    assert np.mean(np.array(found) > DRIFTED_ABOVE) <= 0.001
    # With a third of it, chance does reach it.
    few = [
        stability_terms(
            random.multinomial(training // 3, equal).astype(np.float64),
            random.multinomial(served // 3, equal).astype(np.float64),
        ).sum()
        for _ in range(2_000)
    ]
    assert np.mean(np.array(few) > DRIFTED_ABOVE) > 0.03


def test_an_empty_side_has_no_images() -> None:
    assert harmonic_number(0, 0) == harmonic_number(5, 0) == 0
