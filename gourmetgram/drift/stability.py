"""The population stability index: a number for the distance between two distributions of one feature."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
"""Rows by bin, shape (bins,); weighted rows need not be whole."""

CHANGED_FROM: Final = 0.1
"""Below it a distribution counts as stable."""
DRIFTED_ABOVE: Final = 0.2
"""Above it a distribution counts as another one; a model that learned from the old one should be trained again."""

MIN_IMAGES: Final = 160
"""Smallest harmonic number of images, a * b / (a + b) for a and b images on the two sides.

Without any drift, the index times a * b / (a + b) is about chi-square distributed with one degree of freedom less than
there are bins (B. Yurdakul, "Statistical Properties of Population Stability Index", 2018). Of 12 bins, 1 in 1,000
exceeds 31.3. So from 160 images on, chance alone reaches `DRIFTED_ABOVE` in fewer than 1 of 1,000 features.
"""

_EMPTY: Final = 0.5
"""Rows added to each bin, so that an empty one has a finite logarithm."""


def stability_terms(training: Counts, served: Counts) -> Counts:
    """The term of each bin of the population stability index; their sum is the index.

    With the shares p of the training rows and q of the served rows in a bin, its term is (p - q) * ln(p / q). The index
    is the sum of the Kullback-Leibler divergences in both directions (S. Kullback, R. A. Leibler, "On Information and
    Sufficiency", 1951). Credit scoring made it known under its name and with the limits 0.1 and 0.2.

    Half a row is added to each bin of both sides. A bin that is empty on both sides is no bin: its term is 0.

    Args:
        training: rows by bin, at least one.
        served: rows by the same bins, at least one.
    """
    used = (training > 0) | (served > 0)
    p, q = (_shares(side, used) for side in (training, served))
    terms = np.zeros(len(training))
    terms[used] = (p - q) * np.log(p / q)
    return terms


def _shares(counts: Counts, used: NDArray[np.bool_]) -> Counts:
    smoothed: Counts = counts[used] + _EMPTY
    shares: Counts = smoothed / smoothed.sum()
    return shares


def harmonic_number(training_images: float, served_images: float) -> float:
    """The number that `MIN_IMAGES` limits; 0 when a side is empty."""
    total = training_images + served_images
    return training_images * served_images / total if total else 0.0
