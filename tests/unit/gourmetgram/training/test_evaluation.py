"""Figures of model and rules against values worked out by hand."""

import math

import numpy as np
import pytest

from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.training.evaluation import Confusion, calibration, confusions, measure, rule_scores
from gourmetgram.training.trainer import Balance, enough_passes

LABELS = np.array([0, 0, 1, 1])


def test_figures_are_those_of_the_definitions() -> None:
    found = measure(LABELS, np.array([0.1, 0.6, 0.4, 0.9]))
    # Three of four pairs are in order; ranked 1, 0, 1, 0: precision 1 at recall 1/2, 2/3 at recall 1.
    assert found.auc == pytest.approx(3 / 4)
    assert found.average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert found.log_loss == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.4, 0.9))) / 4)
    assert found.brier == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert found.undefined == {}


def test_a_certain_but_wrong_score_costs_much_and_not_infinitely_much() -> None:
    found = measure(LABELS, np.array([0.0, 0.0, 0.0, 1.0]))
    assert found.log_loss == pytest.approx(-math.log(1e-6) / 4, rel=1e-4)


@pytest.mark.parametrize("only", [0, 1])
def test_figures_that_need_both_classes_are_null_with_the_reason(only: int) -> None:
    found = measure(np.full(3, only), np.array([0.2, 0.3, 0.4]))
    assert (found.auc, found.average_precision) == (None, None)
    assert found.log_loss is not None
    assert found.undefined == dict.fromkeys(("auc", "average_precision"), f"the held-out rows are all of class {only}")


def test_without_rows_every_figure_is_null_with_the_reason() -> None:
    found = measure(np.empty(0, dtype=int), np.empty(0))
    assert set(found.undefined) == {"auc", "average_precision", "log_loss", "brier", "calibration_error"}
    assert found[:5] == (None,) * 5


def test_calibration_groups_rows_by_score() -> None:
    bins = calibration(np.array([0, 1, 1, 1]), np.array([0.11, 0.19, 0.95, 1.0]))
    assert [(round(each.mean_score, 3), each.share_positive, each.rows) for each in bins] == [
        (0.15, 0.5, 2),
        (0.975, 1.0, 2),
    ]


def test_the_rules_score_rows_as_the_scorer_does() -> None:
    matrix = np.zeros((2, len(FEATURE_NAMES)), dtype=np.float32)
    matrix[1, FEATURE_NAMES.index("views_5min")] = 110
    matrix[1, FEATURE_NAMES.index("total_flags")] = 2
    assert rule_scores(matrix).tolist() == [0.0, 0.6]


def test_short_tables_are_passed_over_more_often_than_long_ones() -> None:
    assert [enough_passes(rows) for rows in (0, 1_000, 100_000, 6_000_000)] == [30, 30, 10, 3]


def test_both_classes_are_counted() -> None:
    assert Balance(5, 3).document() == {"0": 5, "1": 3}
    assert Balance(5, 3).rows == 8


def test_the_confusion_at_both_thresholds_follows_the_recommendation_at_its_limits() -> None:
    labels = np.array([1, 0, 1, 0, 1, 1])
    scores = np.array([0.2999, 0.1, 0.3, 0.5, 0.7, 0.7001])
    assert confusions(labels, scores) == {
        "REVIEW or FLAG (from 0.3)": Confusion(caught=3, false_alarms=1, missed=1, left_alone=1),
        "FLAG (above 0.7)": Confusion(caught=1, false_alarms=0, missed=3, left_alone=2),
    }
    assert (Confusion(3, 1, 1, 1).precision, Confusion(3, 1, 1, 1).recall) == (3 / 4, 3 / 4)


def test_a_share_without_its_rows_is_none() -> None:
    nothing = Confusion(caught=0, false_alarms=0, missed=0, left_alone=5)
    assert (nothing.precision, nothing.recall) == (None, None)
