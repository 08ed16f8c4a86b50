"""The model in use and the rules on the images that were held out of its training."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError
from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import check_package
from gourmetgram.training.dataset import TrainingTable, UnusableDataError, open_training_table
from gourmetgram.training.evaluation import HeldOutScores, Metrics, measure, score_held_out
from gourmetgram.training.horizon import LONGEST_MINUTES
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


class _Sizes(BaseModel):
    model_config = ConfigDict(extra="ignore")

    train_images: int = 0
    held_out_images: int = 0


class _Origin(BaseModel):
    """Metadata of the trainer about the rows."""

    model_config = ConfigDict(extra="ignore")

    version: int
    snapshot_id: int
    held_out_from: AwareDatetime
    label_horizon_minutes: Annotated[int, Field(ge=1, le=LONGEST_MINUTES)]
    metrics: _Sizes


def compare_held_out(catalog: Catalog, package: ModelPackage) -> HeldOutComparison:
    """Score the held-out rows again, with the served model.

    Args:
        catalog: catalog of the lakehouse.
        package: a published model.

    Raises:
        PermanentError: the model's metadata lacks the split, or the training table is gone.
        TransientError: a store is away.
    """
    model, origin = check_package(package), _origin_of(package.metadata)
    table, newest = _table_of(catalog, origin)
    rows = table.rows(origin.label_horizon_minutes)
    split = Split(origin.held_out_from, origin.metrics.train_images, origin.metrics.held_out_images)
    scores = score_held_out(rows, split, model)
    return HeldOutComparison(
        origin.version,
        rows.snapshot_id,
        rows.horizon_minutes,
        newest,
        split,
        scores,
        measure(scores.labels, scores.model),
        measure(scores.labels, scores.rules),
    )


def _origin_of(metadata: Mapping[str, Any]) -> _Origin:
    try:
        return _Origin.model_validate(metadata)
    except ValidationError as error:
        missing = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors()}))
        raise PermanentError(
            f"The model in use does not say what was held out of its training ({missing}): train and publish one with "
            "`gourmetgram train --publish`."
        ) from error


def _table_of(catalog: Catalog, origin: _Origin) -> tuple[TrainingTable, bool]:
    """The model's snapshot or, after its expiry, the newest one, whose later images are just as unseen."""
    try:
        return open_training_table(catalog, origin.snapshot_id), False
    except UnusableDataError:
        return open_training_table(catalog), True
