"""The model in use and the rules on the images that were held out of its training."""

from typing import NamedTuple

from pyiceberg.catalog import Catalog

from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import check_package
from gourmetgram.training.dataset import TrainingTable, UnusableDataError, open_training_table
from gourmetgram.training.evaluation import HeldOutScores, Metrics, measure, score_held_out
from gourmetgram.training.origin import ModelOrigin, origin_of
from gourmetgram.training.split import Split


class HeldOutComparison(NamedTuple):
    """Scores of model and rules on the same rows.

    Attributes:
        version: version of the model.
        snapshot_id: Iceberg snapshot of the scored rows.
        horizon_minutes: label horizon, as in the model's training.
        newest: True when the model's own snapshot has expired, so that the newest one was taken.
        split: boundary of the held-out rows.
        scores: scores of each row.
        model: metrics of the model.
        rules: metrics of policy v1.
    """

    version: int
    snapshot_id: int
    horizon_minutes: int
    newest: bool
    split: Split
    scores: HeldOutScores
    model: Metrics
    rules: Metrics


def compare_held_out(catalog: Catalog, package: ModelPackage) -> HeldOutComparison:
    """Score the held-out rows again, with the served model.

    Args:
        catalog: catalog of the lakehouse.
        package: a published model.

    Raises:
        PermanentError: the model's metadata lacks the split, or the training table is gone.
        TransientError: a store is away.
    """
    model, origin = check_package(package), origin_of(package.metadata, "The model in use")
    table, newest = _table_of(catalog, origin)
    rows = table.rows(origin.label_horizon_minutes)
    scores = score_held_out(rows, origin.split, model)
    return HeldOutComparison(
        origin.version,
        rows.snapshot_id,
        rows.horizon_minutes,
        newest,
        origin.split,
        scores,
        measure(scores.labels, scores.model),
        measure(scores.labels, scores.rules),
    )


def _table_of(catalog: Catalog, origin: ModelOrigin) -> tuple[TrainingTable, bool]:
    """The model's snapshot or, after its expiry, the newest one, whose later images are just as unseen."""
    try:
        return open_training_table(catalog, origin.snapshot_id, with_removed=True), False
    except UnusableDataError:
        return open_training_table(catalog), True
