"""A training run from the table to four files. The notebook takes the same steps one by one."""

import logging
from datetime import UTC, datetime
from typing import NamedTuple

from pyiceberg.catalog import Catalog
from sklearn.linear_model import SGDClassifier

from gourmetgram.models.package import ModelPackage
from gourmetgram.training.dataset import TrainingRows, open_training_table
from gourmetgram.training.evaluation import HeldOutScores, Metrics, measure, score_held_out
from gourmetgram.training.package import Provenance, pack, serving_model
from gourmetgram.training.survey import HorizonChoice, choose_horizon
from gourmetgram.training.trainer import (
    Balance,
    FittedScaler,
    TrainingReport,
    category_encoder,
    enough_passes,
    fit_model,
    fit_scaler,
    quiet,
)

log = logging.getLogger(__name__)


class TrainingRun(NamedTuple):
    """Result of a training run.

    Attributes:
        snapshot_id: snapshot of moderation.training_data.
        choice: the label horizon, and the reason for it.
        balance: training examples by class.
        scores: model and rules on the held-out rows.
        model: metrics of the model.
        rules: metrics of policy v1 on the same rows.
        package: the four files.
    """

    snapshot_id: int
    choice: HorizonChoice
    balance: Balance
    scores: HeldOutScores
    model: Metrics
    rules: Metrics
    package: ModelPackage


def train(
    catalog: Catalog,
    *,
    version: int,
    horizon_minutes: int | None = None,
    snapshot_id: int | None = None,
    with_removed: bool = False,
    passes: int | None = None,
    report: TrainingReport = quiet,
) -> TrainingRun:
    """Split, fit, and evaluate a model. Writes nothing but a tag, which keeps the snapshot from expiry.

    Args:
        catalog: the Iceberg catalog.
        version: version of the new model.
        horizon_minutes: label horizon, see `TrainingSettings.label_horizon_minutes`; None = chosen by the data.
        snapshot_id: snapshot of moderation.training_data; None = the newest.
        with_removed: see `open_training_table`.
        passes: passes over the training batches; None = enough for this number of rows.
        report: gets a line about each step.

    Raises:
        UnusableDataError: no model can be trained from these rows.
        TransientError: the catalog or the object store is away.
    """
    table = open_training_table(catalog, snapshot_id, with_removed=with_removed)
    table.keep()
    log.info("Training from Iceberg snapshot: %d", table.snapshot_id)
    report("choosing the label horizon")
    choice = choose_horizon(table, horizon_minutes)
    rows = table.rows(choice.minutes)
    fitted = fit_scaler(rows, choice.split, report)
    passes = passes or enough_passes(fitted.balance.rows)
    model = fit_model(rows, choice.split, fitted.scaler, passes, report)
    return judged(rows, choice, fitted, model, version=version, passes=passes, report=report)


def judged(
    rows: TrainingRows,
    choice: HorizonChoice,
    fitted: FittedScaler,
    model: SGDClassifier,
    *,
    version: int,
    passes: int,
    report: TrainingReport = quiet,
) -> TrainingRun:
    """Evaluate a fitted model and the rules on the held-out rows, and build the model's four files."""
    files = pack(model, fitted.scaler, category_encoder())
    report("judging the held-out rows")
    split = choice.split
    scores = score_held_out(rows, split, serving_model(files, version, fitted.balance.rows))
    by_model, by_rules = measure(scores.labels, scores.model), measure(scores.labels, scores.rules)
    provenance = Provenance(
        version=version,
        trained_at=datetime.now(UTC),
        snapshot_id=rows.snapshot_id,
        horizon_minutes=choice.minutes,
        passes=passes,
        batches=fitted.batches,
        balance=fitted.balance,
        split=split,
        held_out=scores.balance,
        model=by_model,
        rules=by_rules,
    )
    package = ModelPackage(files, provenance.document(files))
    return TrainingRun(rows.snapshot_id, choice, fitted.balance, scores, by_model, by_rules, package)
