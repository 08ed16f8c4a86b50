"""The gate on rows of the real lakehouse: the compared models and images, and tables without a possible comparison."""

from datetime import timedelta
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import check_package
from gourmetgram.registry.gate import better_on_later_images
from gourmetgram.training.dataset import open_training_table
from gourmetgram.training.evaluation import Metrics, measure, score_held_out
from gourmetgram.training.run import TrainingRun, train
from gourmetgram.training.split import Split
from tests.support.training_rows import NOW, synthetic_rows, training_row, write_rows

pytestmark = pytest.mark.servers


def trained(catalog: Catalog, **options: Any) -> TrainingRun:
    return train(catalog, **{"version": 1, "passes": 3, **options})


def measured(catalog: Catalog, run: TrainingRun, package: ModelPackage) -> Metrics:
    """Figures of a model on the images that were held out of a run."""
    rows = open_training_table(catalog).rows(run.choice.minutes)
    scores = score_held_out(rows, Split(run.choice.split.held_out_from, 0, 0), check_package(package))
    return measure(scores.labels, scores.model)


def test_without_a_model_in_use_a_candidate_must_be_better_than_the_rules(catalog: Catalog) -> None:
    write_rows(catalog, synthetic_rows(images=1500))
    run = trained(catalog, passes=None)
    decision = better_on_later_images(catalog, run.package, None)
    assert decision.passed, decision.reason
    assert decision.figures is not None
    assert decision.figures.candidate == run.model
    assert decision.figures.rules == run.rules
    assert decision.figures.served is None
    assert decision.figures.balance == run.scores.balance
    assert "is above the" in decision.reason
    assert "of the rules (policy v1) on 900 later rows" in decision.reason
    assert decision.document()["served"] is None


def test_both_models_are_scored_on_images_that_neither_has_learned_from(catalog: Catalog) -> None:
    rows = synthetic_rows(images=1500)
    write_rows(catalog, rows[:2400])
    earlier = trained(catalog)
    write_rows(catalog, rows[2400:])
    later = trained(catalog)
    assert later.choice.split.held_out_from > earlier.choice.split.held_out_from
    for candidate, served in ((later, earlier), (earlier, later)):
        decision = better_on_later_images(catalog, candidate.package, served.package)
        assert decision.figures is not None
        assert decision.figures.uploaded_from == later.choice.split.held_out_from
        assert decision.figures.candidate == measured(catalog, later, candidate.package)
        assert decision.figures.served == measured(catalog, later, served.package)
        better = (decision.figures.candidate.average_precision or 0) > (decision.figures.served.average_precision or 0)
        assert decision.passed == better
        assert "of version 1 on" in decision.reason


def test_a_model_is_not_better_than_itself(catalog: Catalog) -> None:
    write_rows(catalog, synthetic_rows(images=300))
    package = trained(catalog).package
    decision = better_on_later_images(catalog, package, package)
    assert not decision.passed
    assert "is equal, and log-loss" in decision.reason


def test_without_later_rows_of_both_classes_nothing_is_better(catalog: Catalog) -> None:
    write_rows(catalog, synthetic_rows(images=300))
    candidate = trained(catalog).package
    newest = NOW + timedelta(days=3)
    write_rows(catalog, [training_row(str(number), newest + timedelta(hours=number)) for number in range(5)])
    for moment, reason in (
        (newest, "average precision is undefined: the held-out rows are all of class 0"),
        (newest + timedelta(days=1), "average precision is undefined: there are no held-out rows with a label"),
    ):
        served = candidate._replace(metadata={**candidate.metadata, "held_out_from": moment.isoformat()})
        decision = better_on_later_images(catalog, candidate, served)
        assert (decision.passed, decision.reason) == (False, reason)


def test_a_served_model_that_does_not_say_what_it_learned_from_cannot_be_compared(catalog: Catalog) -> None:
    write_rows(catalog, synthetic_rows(images=300))
    candidate = trained(catalog).package
    metadata = {name: value for name, value in candidate.metadata.items() if name != "held_out_from"}
    decision = better_on_later_images(catalog, candidate, candidate._replace(metadata=metadata))
    assert not decision.passed
    assert decision.reason.startswith("no comparison was possible: The model in use does not say what was held out")
    assert decision.document() == {"passed": False, "reason": decision.reason}


def test_without_the_table_no_comparison_is_possible(catalog: Catalog) -> None:
    write_rows(catalog, synthetic_rows(images=300))
    candidate = trained(catalog).package
    catalog.drop_table("moderation.training_data")
    decision = better_on_later_images(catalog, candidate, None)
    assert not decision.passed
    assert "moderation.training_data has no rows yet" in decision.reason
