"""Random rows of the large table: their columns and ranges, and the same rows again for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, LongType, NestedField, StringType

from gourmetgram.features.definition import CATEGORIES
from gourmetgram.lakehouse.schemas import arrow_schema
from gourmetgram.training.dataset import FEATURE_COLUMNS, LABEL

BATCH_ROWS: Final = 10_000
FILE_ROWS: Final = 500_000
"""Rows of a file, about 30 MB."""
SEED: Final = 42

_WHOLE: Final = {
    "time_since_upload_seconds": 100_000,
    "hour_of_day": 24,
    "day_of_week": 7,
    "is_weekend": 2,
    "views_5min": 1_000,
    "views_1hr": 10_000,
    "comments_5min": 100,
    "comments_1hr": 1_000,
    "flags_5min": 10,
    "flags_1hr": 100,
    "total_flags": 100,
    "caption_length": 500,
    "has_caption": 2,
    "user_image_count": 1_000,
    "user_age_days": 3_650,
    LABEL: 2,
}
"""Upper bounds, excluded, of whole numbers."""

_REAL: Final = {"view_velocity_per_min": 100.0, "comment_to_view_ratio": 1.0, "recent_engagement_score": 10.0}
"""Upper bounds, excluded, of real numbers."""

_COLUMNS: Final = (*FEATURE_COLUMNS, LABEL)
_TYPES: Final = {"category": StringType()} | dict.fromkeys(_REAL, DoubleType()) | dict.fromkeys(_WHOLE, LongType())
SCHEMA: Final = Schema(*(NestedField(number, name, _TYPES[name]) for number, name in enumerate(_COLUMNS, start=1)))


@dataclass(frozen=True)
class LargeTablePlan:
    """Size and seed of the table. Each file has a seed of its own, so an interrupted run need not start over.

    Attributes:
        rows: number of rows of the table.
        seed: the same rows for the same seed.
        file_rows: number of rows of each file; the last one may have fewer.
    """

    rows: int
    seed: int = SEED
    file_rows: int = FILE_ROWS

    @property
    def files(self) -> int:
        """Number of files."""
        return -(-self.rows // self.file_rows)

    @property
    def mark(self) -> str:
        """Text that is equal only for plans with the same rows: a property of the table and of its files."""
        columns = ",".join(f"{name}<{bound}" for name, bound in (_WHOLE | _REAL).items())
        return f"rows {self.rows}, seed {self.seed}, {self.file_rows} rows a file, {columns}"

    def rows_of(self, number: int) -> int:
        """Number of rows of a file; files are counted from 0."""
        return min(self.rows - number * self.file_rows, self.file_rows)

    def batches(self, number: int) -> Iterator[pa.RecordBatch]:
        """Rows of a file, 10,000 at a time."""
        random = np.random.default_rng([self.seed, number])
        rows, schema, categories = self.rows_of(number), arrow_schema(SCHEMA), pa.array(CATEGORIES)
        for start in range(0, rows, BATCH_ROWS):
            count = min(BATCH_ROWS, rows - start)
            columns: dict[str, pa.Array] = {}
            for name in _COLUMNS:
                if name in _WHOLE:
                    columns[name] = pa.array(random.integers(_WHOLE[name], size=count))
                elif name in _REAL:
                    columns[name] = pa.array(random.random(count) * _REAL[name])
                else:
                    columns[name] = categories.take(pa.array(random.integers(len(CATEGORIES), size=count)))
            yield pa.record_batch([columns[name] for name in _COLUMNS], schema=schema)
