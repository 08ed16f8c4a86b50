"""The rows of `moderation.training_data` as batches of examples, in bounded memory however long the table is."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table

from gourmetgram.errors import PermanentError
from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES
from gourmetgram.features.matrix import FeatureMatrix
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.training_data.rows import MINUTE_US
from gourmetgram.training_data.table import TRAINING_TABLE, find_training_table

LABEL: Final = "label_needs_moderation_24h"
FEATURE_COLUMNS: Final = (*NUMERIC_FEATURES, "category")
"""The columns that a vector is built of."""

HOW_TO_FILL: Final = (
    "Let traffic or a backfill run, then trigger the DAG redpanda_event_aggregation and after it moderation_training."
)

_EXAMPLE_COLUMNS: Final = (*FEATURE_COLUMNS, LABEL, "label_observed_until", "anchor_time", "decision_point_minutes")
_CATEGORIES: Final = pa.array(CATEGORIES)
_NUMERIC: Final = len(NUMERIC_FEATURES)

Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


class UnusableDataError(PermanentError):
    """No model can be trained from these rows; the text says why and what to do."""


class Examples(NamedTuple):
    """A batch of n examples.

    Attributes:
        matrix: the vectors, shape (n, 29).
        labels: 0 or 1, shape (n,).
        provisional: where a 0 stands for an image whose day is not over, shape (n,).
        uploads_us: upload time of each row's image, microseconds since the epoch, shape (n,).
        minutes: decision points, shape (n,).
        image_ids: n texts, or None when they were not asked for.
    """

    matrix: FeatureMatrix
    labels: Integers
    provisional: Flags
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
            self.provisional[chosen],
            self.uploads_us[chosen],
            self.minutes[chosen],
            ids,
        )


class TrainingRows:
    """The rows of one snapshot that can be learned from.

    Args:
        table: has the columns of moderation.training_data.
        snapshot_id: one of its snapshots.
        provisional_minutes: see `TrainingSettings.provisional_negative_minutes`.
    """

    def __init__(self, table: Table, snapshot_id: int, provisional_minutes: int) -> None:
        self.table = table
        self.snapshot_id = snapshot_id
        self.provisional_minutes = provisional_minutes

    def examples(self, *, with_ids: bool = False, row_filter: BooleanExpression | None = None) -> Iterator[Examples]:
        """All usable rows, batch by batch, in the same order each time.

        Args:
            with_ids: whether image ids are needed.
            row_filter: rows that are certainly not wanted, so that their files need not be read.

        Raises:
            UnusableDataError: a row has no value where it must have one.
            TransientError: the object store is away.
        """
        for batch in self.batches((*_EXAMPLE_COLUMNS, *(["image_id"] if with_ids else [])), row_filter):
            found = self._examples(batch)
            if len(found.labels):
                yield found

    def batches(self, columns: Sequence[str], row_filter: BooleanExpression | None = None) -> Iterator[pa.RecordBatch]:
        """Columns of all rows as Arrow batches, also of rows without a usable label."""
        yield from stream_rows(self.table, columns, row_filter, self.snapshot_id)

    def _examples(self, batch: pa.RecordBatch) -> Examples:
        unknown = batch[LABEL].is_null().to_numpy(zero_copy_only=False)
        provisional = unknown & self._observed_enough(batch)
        usable = provisional | ~unknown
        if not usable.all():
            batch, provisional = batch.filter(pa.array(usable)), provisional[usable]
        minutes = _integers(batch, "decision_point_minutes")
        return Examples(
            matrix=vectors(batch),
            labels=batch[LABEL].fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False),
            provisional=provisional,
            uploads_us=_integers(batch, "anchor_time") - minutes * MINUTE_US,
            minutes=minutes,
            image_ids=batch["image_id"] if "image_id" in batch.schema.names else None,
        )

    def _observed_enough(self, batch: pa.RecordBatch) -> Flags:
        """Which rows were looked at long enough to call an unflagged image harmless for now."""
        if self.provisional_minutes == 0:
            return np.zeros(batch.num_rows, dtype=np.bool_)
        observed = _integers(batch, "label_observed_until") - _integers(batch, "anchor_time")
        enough: Flags = observed >= self.provisional_minutes * MINUTE_US
        return enough


def open_training_rows(catalog: Catalog, provisional_minutes: int, snapshot_id: int | None = None) -> TrainingRows:
    """The rows of `moderation.training_data` as of a snapshot.

    Args:
        catalog: the lakehouse's.
        provisional_minutes: see `TrainingSettings.provisional_negative_minutes`.
        snapshot_id: None = the newest.

    Raises:
        UnusableDataError: there is no table, no row, or no such snapshot.
        TransientError: the catalog or the object store is away.
    """
    with named_outages(f"{TRAINING_TABLE} could not be opened"):
        table = find_training_table(catalog)
    if table is None or table.current_snapshot() is None:
        raise UnusableDataError(f"{TRAINING_TABLE} has no rows yet. {HOW_TO_FILL}")
    snapshot = table.current_snapshot() if snapshot_id is None else table.snapshot_by_id(snapshot_id)
    if snapshot is None:
        raise UnusableDataError(f"{TRAINING_TABLE} has no snapshot {snapshot_id} (any more): train from the newest.")
    return TrainingRows(table, snapshot.snapshot_id, provisional_minutes)


def vectors(batch: pa.RecordBatch) -> FeatureMatrix:
    """The vectors of rows, shape (rows, 29).

    Args:
        batch: has the columns `FEATURE_COLUMNS`; a category that is none of the eleven gives eleven zeros.

    Raises:
        UnusableDataError: a numeric value is missing or not finite.
    """
    # Filled column by column, as a column of Arrow is one piece of memory: half the time of filling it row by row.
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
