"""The rows of `moderation.training_data` as batches of examples, in bounded memory for a table of any length."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from gourmetgram.errors import PermanentError
from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES
from gourmetgram.features.matrix import FeatureMatrix
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.progress import summary_of
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.moments import MINUTE_US, parse_utc
from gourmetgram.training.horizon import NEVER_US, Flags, Integers, Observations, outcomes
from gourmetgram.training_data.names import EXTRACTED_AT, FIRST_FLAG, ROWS_REMOVED_AT
from gourmetgram.training_data.retention import keep_trained
from gourmetgram.training_data.table import TRAINING_TABLE, find_training_table

LABEL: Final = "label_needs_moderation_24h"
FEATURE_COLUMNS: Final = (*NUMERIC_FEATURES, "category")
"""The columns that a feature vector is made of."""

HOW_TO_FILL: Final = (
    "Let traffic or a backfill (GENERATOR_MODE=backfill) run, then trigger the DAG redpanda_event_aggregation and "
    "after it moderation_training."
)

_OBSERVED_COLUMNS: Final = (LABEL, FIRST_FLAG, "label_observed_until", "anchor_time", "decision_point_minutes")
_CATEGORIES: Final = pa.array(CATEGORIES)
_NUMERIC: Final = len(NUMERIC_FEATURES)


class UnusableDataError(PermanentError):
    """The rows cannot train a model; the text gives the reason and the remedy."""


class Examples(NamedTuple):
    """A batch of n examples.

    Attributes:
        matrix: the vectors, shape (n, 29).
        labels: 1 where a flag came within the horizon, else 0, shape (n,).
        uploads_us: upload time of each row's image, microseconds since the epoch, shape (n,).
        minutes: decision points, shape (n,).
        image_ids: n texts, or None when they were not requested.
    """

    matrix: FeatureMatrix
    labels: Integers
    uploads_us: Integers
    minutes: Integers
    image_ids: pa.StringArray | None

    def where(self, chosen: Flags) -> "Examples":
        """The examples for which a condition of shape (n,) holds."""
        if chosen.all():
            return self
        ids = None if self.image_ids is None else self.image_ids.filter(pa.array(chosen))
        return Examples(
            self.matrix[chosen],
            self.labels[chosen],
            self.uploads_us[chosen],
            self.minutes[chosen],
            ids,
        )


class Looks(NamedTuple):
    """A batch of n rows, with the columns that the choice of a horizon needs.

    Attributes:
        image_ids: n texts.
        observed: flag observations of the rows.
    """

    image_ids: pa.StringArray
    observed: Observations


class TrainingTable:
    """`moderation.training_data` as of one snapshot.

    Args:
        table: the Iceberg table.
        snapshot_id: one of its snapshots.
    """

    def __init__(self, table: Table, snapshot_id: int) -> None:
        self.table = table
        self.snapshot_id = snapshot_id

    def looks(self) -> Iterator[Looks]:
        """All rows, with the few columns that decide labels, batch by batch.

        Raises:
            UnusableDataError: a row lacks a required value.
            TransientError: the object store is away.
        """
        for batch in self.batches(("image_id", *_OBSERVED_COLUMNS)):
            yield Looks(_without_nulls(batch, "image_id"), observations(batch))

    def keep(self) -> None:
        """Tag the snapshot as used for a training, so that it does not expire; a failure is only logged."""
        snapshot = self.table.snapshot_by_id(self.snapshot_id)
        if snapshot is not None:
            keep_trained(self.table, snapshot)

    def rows(self, horizon_minutes: int) -> "TrainingRows":
        """The rows that a model can learn from, with a horizon of 1 to 1,440 minutes."""
        return TrainingRows(self, horizon_minutes)

    def batches(self, columns: Sequence[str], row_filter: BooleanExpression | None = None) -> Iterator[pa.RecordBatch]:
        """Columns of all rows as Arrow batches."""
        yield from stream_rows(self.table, columns, row_filter, self.snapshot_id)


class TrainingRows:
    """The rows of one snapshot that were observed for a whole horizon, whatever their label.

    Args:
        source: the table.
        horizon_minutes: label horizon, 1 to 1,440.
    """

    def __init__(self, source: TrainingTable, horizon_minutes: int) -> None:
        self._source = source
        self.snapshot_id = source.snapshot_id
        self.horizon_minutes = horizon_minutes

    def examples(self, *, with_ids: bool = False, row_filter: BooleanExpression | None = None) -> Iterator[Examples]:
        """All usable rows, batch by batch, in the same order each time.

        Args:
            with_ids: True to include image ids.
            row_filter: only rows that match; files without such rows are not read.

        Raises:
            UnusableDataError: a row lacks a required value.
            TransientError: the object store is away.
        """
        columns = (*FEATURE_COLUMNS, *_OBSERVED_COLUMNS, *(["image_id"] if with_ids else []))
        for batch in self._source.batches(columns, row_filter):
            found = self._examples(batch)
            if len(found.labels):
                yield found

    def _examples(self, batch: pa.RecordBatch) -> Examples:
        observed = observations(batch)
        found = outcomes(observed, self.horizon_minutes)
        if not found.usable.all():
            batch = batch.filter(pa.array(found.usable))
        return Examples(
            matrix=vectors(batch),
            labels=found.labels[found.usable],
            uploads_us=observed.uploads_us[found.usable],
            minutes=_integers(batch, "decision_point_minutes"),
            image_ids=batch["image_id"] if "image_id" in batch.schema.names else None,
        )


def open_training_table(
    catalog: Catalog, snapshot_id: int | None = None, *, with_removed: bool = False
) -> TrainingTable:
    """`moderation.training_data` as of a snapshot.

    Args:
        catalog: the Iceberg catalog.
        snapshot_id: None = the newest.
        with_removed: True to accept a snapshot with rows of images that were deleted or became ineligible since, for
            comparisons with a model of that time.

    Raises:
        UnusableDataError: the table or the snapshot does not exist, has no row, is of an earlier version, or holds rows
            that were removed since.
        TransientError: the catalog or the object store is away.
    """
    with named_outages(f"{TRAINING_TABLE} could not be opened"):
        table = find_training_table(catalog)
    if table is None or table.current_snapshot() is None:
        raise UnusableDataError(f"{TRAINING_TABLE} has no rows yet. {HOW_TO_FILL}")
    snapshot = table.current_snapshot() if snapshot_id is None else table.snapshot_by_id(snapshot_id)
    if snapshot is None:
        raise UnusableDataError(f"{TRAINING_TABLE} has no snapshot {snapshot_id} (any more): train from the newest.")
    if FIRST_FLAG not in _columns_at(table, snapshot):
        raise UnusableDataError(
            f"Snapshot {snapshot.snapshot_id} of {TRAINING_TABLE} is of an earlier version, without {FIRST_FLAG}: "
            "trigger the DAG moderation_training, which adds it, and train from the newest snapshot."
        )
    if not with_removed:
        _refuse_removed(table, snapshot)
    return TrainingTable(table, snapshot.snapshot_id)


def _refuse_removed(table: Table, snapshot: Snapshot) -> None:
    removed_at = table.properties.get(ROWS_REMOVED_AT)
    extracted_at = summary_of(snapshot).get(EXTRACTED_AT)
    if removed_at is None or snapshot == table.current_snapshot():
        return
    if extracted_at is None or parse_utc(extracted_at) < parse_utc(removed_at):
        raise UnusableDataError(
            f"Snapshot {snapshot.snapshot_id} of {TRAINING_TABLE} may hold rows of images that were deleted or became "
            f"ineligible (the load of {removed_at} removed some): train from the newest, or ask for these rows with "
            "`gourmetgram train --with-removed`."
        )


def _columns_at(table: Table, snapshot: Snapshot) -> list[str]:
    # A run that changes no row adds the column without a new snapshot, so the newest snapshot has the table's schema.
    if snapshot.schema_id is None or snapshot == table.current_snapshot():
        return table.schema().column_names
    return table.schemas()[snapshot.schema_id].column_names


def observations(batch: pa.RecordBatch) -> Observations:
    """Flag observations of a batch of rows.

    Raises:
        UnusableDataError: a row lacks a required value.
    """
    anchors_us = _integers(batch, "anchor_time")
    flagged = batch[FIRST_FLAG]
    flagged_us = flagged.cast(pa.int64()).fill_null(NEVER_US).to_numpy(zero_copy_only=False)
    positive = batch[LABEL].fill_null(0).to_numpy(zero_copy_only=False) == 1
    return Observations(
        uploads_us=anchors_us - _integers(batch, "decision_point_minutes") * MINUTE_US,
        anchors_us=anchors_us,
        observed_until_us=_integers(batch, "label_observed_until"),
        flagged_us=flagged_us,
        lost=positive & flagged.is_null().to_numpy(zero_copy_only=False),
    )


def vectors(batch: pa.RecordBatch) -> FeatureMatrix:
    """The vectors of rows, shape (rows, 29).

    Args:
        batch: has the columns `FEATURE_COLUMNS`; an unknown category gives eleven zeros.

    Raises:
        UnusableDataError: a numeric value is missing or not finite.
    """
    # Column by column takes half the time of row by row, because an Arrow column is one block of memory.
    matrix = np.zeros((batch.num_rows, len(FEATURE_NAMES)), dtype=np.float32, order="F")
    for number, name in enumerate(NUMERIC_FEATURES):
        matrix[:, number] = _values(batch, name)
    if not np.isfinite(matrix[:, :_NUMERIC]).all():
        raise UnusableDataError(f"{TRAINING_TABLE} has a feature that is not finite: run moderation_training again.")
    category = pc.index_in(batch["category"], value_set=_CATEGORIES).fill_null(-1).to_numpy(zero_copy_only=False)
    for number in range(len(CATEGORIES)):
        matrix[:, _NUMERIC + number] = category == number
    return matrix


def _integers(batch: pa.RecordBatch, name: str) -> Integers:
    column = _without_nulls(batch, name)
    return column.cast(pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _values(batch: pa.RecordBatch, name: str) -> NDArray[np.generic]:
    return _without_nulls(batch, name).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _without_nulls(batch: pa.RecordBatch, name: str) -> pa.Array:
    column = batch[name]
    if column.null_count:
        raise UnusableDataError(f"{TRAINING_TABLE} has rows without {name}: run moderation_training again.")
    return column
