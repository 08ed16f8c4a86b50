"""The training side: rows of one snapshot of `moderation.training_data`."""

import logging
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog

from gourmetgram.drift.bins import Columns, FeatureBins, compared_columns, feature_bins
from gourmetgram.errors import PermanentError
from gourmetgram.models.artifacts import parse_metadata
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.package import metadata_text
from gourmetgram.models.repository import MissingObjectError, ModelRepository
from gourmetgram.training.dataset import (
    FEATURE_COLUMNS,
    TrainingTable,
    UnusableDataError,
    open_training_table,
    vectors,
)

log = logging.getLogger(__name__)

SAMPLE_ROWS: Final = 50_000
"""Rows of each decision point that decide the limits of the bins; all rows are counted."""

_POINT: Final = "decision_point_minutes"


class ModelInUse(NamedTuple):
    """The served model: its version, and the snapshot that it was trained on (None when its metadata lacks it)."""

    version: int
    snapshot_id: int | None


class ReferenceTable(NamedTuple):
    """Training rows to compare with.

    Attributes:
        table: the table as of a snapshot.
        notice: reason for which it is not the model's own snapshot; empty when it is.
    """

    table: TrainingTable
    notice: str


def model_in_use(repository: ModelRepository) -> ModelInUse | None:
    """The model that the scorer serves; None without a usable one.

    Raises:
        TransientError: the object store is away.
    """
    try:
        document = repository.read_metadata()
        version = parse_metadata(metadata_text(document)).version
    except MissingObjectError:
        return None
    except ArtifactError as error:
        log.warning("The model at %s counts as absent: %s", repository.address, error)
        return None
    snapshot = str(document.get("snapshot_id", ""))
    return ModelInUse(version, int(snapshot) if snapshot.isdecimal() else None)


def open_reference(catalog: Catalog, model: ModelInUse | None) -> ReferenceTable:
    """The rows that the model was trained on, or else those of the newest snapshot.

    Raises:
        UnusableDataError: the table does not exist or has no row.
        TransientError: the catalog or the object store is away.
    """
    if model is None:
        return ReferenceTable(open_training_table(catalog), "No model is in use: this is the newest snapshot.")
    if model.snapshot_id is None:
        notice = f"Model version {model.version} does not name its snapshot: this is the newest one."
        return ReferenceTable(open_training_table(catalog), notice)
    try:
        return ReferenceTable(open_training_table(catalog, model.snapshot_id, with_removed=True), "")
    except UnusableDataError:
        notice = f"Snapshot {model.snapshot_id} of model version {model.version} has expired: this is the newest one."
        return ReferenceTable(open_training_table(catalog), notice)


def training_batches(table: TrainingTable) -> Iterator[tuple[NDArray[np.int64], Columns]]:
    """Decision points (minutes, shape (rows,)) and compared features of all rows, batch by batch.

    Raises:
        UnusableDataError: a row lacks a value.
        TransientError: the object store is away.
    """
    for batch in table.batches((*FEATURE_COLUMNS, _POINT)):
        if batch[_POINT].null_count:
            raise PermanentError(f"Rows without {_POINT} cannot be compared: run moderation_training again.")
        yield batch[_POINT].to_numpy(zero_copy_only=False), compared_columns(vectors(batch))


def bins_of(table: TrainingTable, served: Mapping[int, int]) -> list[FeatureBins]:
    """Bins of each feature, from the rows at the served decision points.

    Args:
        table: the training rows.
        served: served rows by decision point. Training rows get weights that give them the same mix of points.

    Raises:
        UnusableDataError: there are no training rows at these points.
        TransientError: the object store is away.
    """
    random = np.random.default_rng(42)
    samples = {minutes: _Sample(random) for minutes in served}
    for points, rows in training_batches(table):
        for minutes, sample in samples.items():
            sample.add(rows[points == minutes])
    kept = {minutes: sample.rows for minutes, sample in samples.items() if len(sample.rows)}
    if not kept:
        raise UnusableDataError(f"The training rows have no decision point of {', '.join(map(str, served))} minutes.")
    weights = [np.full(len(rows), served[minutes] / len(rows)) for minutes, rows in kept.items()]
    return feature_bins(np.concatenate(list(kept.values())), np.concatenate(weights))


class _Sample:
    """At most `SAMPLE_ROWS` of the rows that were added, each with the same chance."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._keys = np.empty(0)
        self.rows: Columns = np.empty((0, 0), dtype=np.float32)

    def add(self, rows: Columns) -> None:
        """Add rows; those with the smallest random keys stay."""
        if not len(rows):
            return
        keys = np.concatenate([self._keys, self._random.random(len(rows))])
        together = np.concatenate([self.rows, rows]) if len(self.rows) else rows
        if len(keys) > SAMPLE_ROWS:
            smallest = np.argpartition(keys, SAMPLE_ROWS)[:SAMPLE_ROWS]
            keys, together = keys[smallest], together[smallest]
        self._keys, self.rows = keys, together
