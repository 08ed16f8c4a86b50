"""A training run from the table to four files. The notebook takes the same steps one by one."""

import logging
from datetime import UTC, datetime
from typing import NamedTuple

from pyiceberg.catalog import Catalog
from sklearn.linear_model import SGDClassifier

from gourmetgram.models.package import ModelPackage
from gourmetgram.training.dataset import TrainingRows, open_training_rows
from gourmetgram.training.evaluation import HeldOutScores, Metrics, measure, score_held_out
from gourmetgram.training.package import Provenance, pack, serving_model
from gourmetgram.training.split import Split, split_by_upload
from gourmetgram.training.trainer import (
    Balance,
    FittedScaler,
    Report,
    category_encoder,
    enough_passes,
    fit_model,
    fit_scaler,
    quiet,
)

log = logging.getLogger(__name__)


class TrainingRun(NamedTuple):
    """What came out of a run.

    Attributes:
        snapshot_id: what was trained on.
        split: what was held out.
        balance: the training examples.
        scores: model and rules on the held-out rows.
        model: how good the model is.
        rules: how good policy v1 is on the same rows.
        package: the four files.
    """

    snapshot_id: int
    split: Split
    balance: Balance
    scores: HeldOutScores
    model: Metrics
    rules: Metrics
    package: ModelPackage


def train(
    catalog: Catalog,
    *,
    version: int,
    provisional_minutes: int,
    snapshot_id: int | None = None,
    passes: int | None = None,
    report: Report = quiet,
) -> TrainingRun:
    """Split, fit, and judge the result. Writes nothing.

    Args:
        catalog: the lakehouse's.
        version: of the new model.
        provisional_minutes: see `TrainingSettings.provisional_negative_minutes`.
        snapshot_id: of moderation.training_data; None = the newest.
        passes: over the training batches; None = enough for so many rows.
        report: told what is being done.

    Raises:
        UnusableDataError: no model can be trained from these rows.
        TransientError: the catalog or the object store is away.
    """
    rows = open_training_rows(catalog, provisional_minutes, snapshot_id)
    log.info("Training from Iceberg snapshot: %d", rows.snapshot_id)
    report("looking for the latest uploads")
    split = split_by_upload(rows)
    return train_on(rows, split, version=version, passes=passes, report=report)


def train_on(
    rows: TrainingRows, split: Split, *, version: int, passes: int | None = None, report: Report = quiet
) -> TrainingRun:
    """`train`, once it is known which rows are for what."""
    fitted = fit_scaler(rows, split, report)
    passes = passes or enough_passes(fitted.balance.rows)
    model = fit_model(rows, split, fitted.scaler, passes, report)
    return judged(rows, split, fitted, model, version=version, passes=passes, report=report)


def judged(
    rows: TrainingRows,
    split: Split,
    fitted: FittedScaler,
    model: SGDClassifier,
    *,
    version: int,
    passes: int,
    report: Report = quiet,
) -> TrainingRun:
    """Let a fitted model and the rules judge the held-out rows, and put its files together."""
    files = pack(model, fitted.scaler, category_encoder())
    report("judging the held-out rows")
    scores = score_held_out(rows, split, serving_model(files, version, fitted.balance.rows))
    by_model, by_rules = measure(scores.labels, scores.model), measure(scores.labels, scores.rules)
    provenance = Provenance(
        version=version,
        trained_at=datetime.now(UTC),
        snapshot_id=rows.snapshot_id,
        provisional_minutes=rows.provisional_minutes,
        passes=passes,
        batches=fitted.batches,
        balance=fitted.balance,
        split=split,
        held_out=scores.balance,
        model=by_model,
        rules=by_rules,
    )
    package = ModelPackage(files, provenance.document(files))
    return TrainingRun(rows.snapshot_id, split, fitted.balance, scores, by_model, by_rules, package)
