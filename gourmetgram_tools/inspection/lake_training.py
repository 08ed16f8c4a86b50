"""`moderation.training_data` as the audit looks at it: keys, anchors, images, labels, not the features (see `skew`)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import duckdb
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

from gourmetgram.duckdb_engine import duckdb_engine
from gourmetgram.lakehouse.progress import summary_of
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.moments import parse_utc
from gourmetgram.training_data.names import EXTRACTED_AT, FIRST_FLAG, ROWS_KEPT, TRAINING_TABLE

_LOAD: Final = """
CREATE TABLE anchors AS
SELECT image_id, decision_point_minutes AS minutes, epoch_us(anchor_time) AS anchor_us FROM loading
"""
# A flag makes the label; the label may stand without one where the flag's moment is not known any more.
_MISLABELLED: Final = """
SELECT image_id, decision_point_minutes FROM loading
WHERE first_flagged_at IS NOT NULL AND (
    label_needs_moderation_24h IS DISTINCT FROM 1
    OR first_flagged_at <= anchor_time OR first_flagged_at > label_observed_until
) ORDER BY ALL
"""
_LABEL_COLUMNS: Final = ("label_needs_moderation_24h", "label_observed_until", FIRST_FLAG)
_REPEATED: Final = """
SELECT image_id, minutes, count(*) FROM anchors GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
"""
_IMAGES: Final = """
SELECT image_id, min(anchor_us - minutes * 60000000), max(anchor_us - minutes * 60000000), max(anchor_us)
FROM anchors GROUP BY image_id ORDER BY image_id
"""


@dataclass(frozen=True)
class TrainingImage:
    """The rows of one image. Times in microseconds since the epoch.

    Attributes:
        uploads_us: the upload times that the rows' anchors follow from; one, if all is well.
        last_anchor_us: the latest anchor.
    """

    uploads_us: tuple[int, ...]
    last_anchor_us: int


@dataclass(frozen=True)
class TrainingRows:
    """The table's newest rows.

    Attributes:
        rows: how many there are.
        kept: how many the run that wrote the snapshot says it kept; None when it does not say.
        extracted_at: moment of the extract they come from; later changes of users and images cannot show in them.
        repeated: image id, minutes and number of each key that has several rows.
        mislabelled: image id and minutes of rows whose first flag does not fit their label or its window.
        images: by image id.
    """

    rows: int
    kept: int | None
    extracted_at: datetime | None
    repeated: tuple[tuple[str, int, int], ...]
    mislabelled: tuple[tuple[str, int], ...]
    images: dict[str, TrainingImage]


def read_training_rows(catalog: Catalog) -> TrainingRows:
    """Read the table.

    Raises:
        TransientError: the object store is away.
        PermanentError: a file of the table is missing.
    """
    table = catalog.load_table(TRAINING_TABLE)
    columns = ["image_id", "decision_point_minutes", "anchor_time"]
    with duckdb_engine() as engine:
        engine.register("loading", stream_rows(table, columns))
        engine.execute(_LOAD)
        ((rows,),) = engine.execute("SELECT count(*) FROM anchors").fetchall()
        repeated = engine.execute(_REPEATED).fetchall()
        images = engine.execute(_IMAGES).fetchall()
        mislabelled = _mislabelled(table, engine)
    extracted_at = table.properties.get(EXTRACTED_AT)
    return TrainingRows(
        rows=rows,
        kept=_kept(table),
        extracted_at=parse_utc(extracted_at) if extracted_at else None,
        repeated=tuple((image_id, minutes, number) for image_id, minutes, number in repeated),
        mislabelled=mislabelled,
        images={
            image_id: TrainingImage(tuple(sorted({first_us, last_us})), anchor_us)
            for image_id, first_us, last_us, anchor_us in images
        },
    )


def _mislabelled(table: Table, engine: duckdb.DuckDBPyConnection) -> tuple[tuple[str, int], ...]:
    if FIRST_FLAG not in table.schema().column_names:
        return ()
    columns = ["image_id", "decision_point_minutes", "anchor_time", *_LABEL_COLUMNS]
    engine.register("loading", stream_rows(table, columns))
    return tuple((image_id, minutes) for image_id, minutes in engine.execute(_MISLABELLED).fetchall())


def _kept(table: Table) -> int | None:
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        summary = summary_of(snapshot)
        if ROWS_KEPT in summary:
            return int(summary[ROWS_KEPT])
    return None
