"""Training rows and test rows of a project, as data frames with their Iceberg snapshots."""

from collections.abc import Collection
from typing import Any, Final, NamedTuple, cast

import pandas as pd  # type: ignore[import-untyped]
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import get_registered_sources, register_dataset_source
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.moments import parse_utc, utc_text
from gourmetgram.settings import IcebergSettings
from gourmetgram.training.dataset import TrainingRows, UnusableDataError, open_training_table
from gourmetgram.training.frame import FRAME_COLUMNS, examples_frame
from gourmetgram.training.settings import TrainingSettings
from gourmetgram.training.split import Split
from gourmetgram.training.survey import HorizonChoice, choose_horizon
from gourmetgram.training_data.table import TRAINING_TABLE
from model_training.lifecycle.config import ProjectConfig
from model_training.lifecycle.marvel import HOW_TO_WRITE, TEST_TABLE, TRAIN_TABLE
from model_training.lifecycle.sources import IcebergDatasetSource

TRAINING: Final = "training"
TESTING: Final = "testing"

# Programs whose packages are not installed, but copied, have no entry points (see sources.py).
_registered: list[Any] = get_registered_sources()
if IcebergDatasetSource not in _registered:
    register_dataset_source(cast("DatasetSource", IcebergDatasetSource))


class ProjectData(NamedTuple):
    """Rows of a project.

    Attributes:
        train_set: rows to learn from, with the columns of the configuration.
        test_set: rows to test on.
        train_source: source of the training rows.
        test_source: source of the test rows.
        choice: label horizon and split of the moderation project; None for the other one.
    """

    train_set: pd.DataFrame
    test_set: pd.DataFrame
    train_source: IcebergDatasetSource
    test_source: IcebergDatasetSource
    choice: HorizonChoice | None


def load_project(config: ProjectConfig, catalog: Catalog) -> ProjectData:
    """Read both sets of a project as of the newest snapshots.

    Raises:
        UnusableDataError: a table is missing or empty, lacks a column, or one class is missing in a set.
        TransientError: the catalog or the object store is away.
    """
    data = _moderation(config, catalog) if config.project == "moderation" else _marvel(config, catalog)
    for side, frame in (("training", data.train_set), ("test", data.test_set)):
        _refuse_one_class(config, side, frame, data.train_source if side == "training" else data.test_source)
    return data


def read_source(source: IcebergDatasetSource, catalog: Catalog | None = None) -> pd.DataFrame:
    """The rows of a source.

    Args:
        source: as logged with a run.
        catalog: None = the catalog of the process's environment.

    Raises:
        PermanentError: the table or the snapshot does not exist (any more).
        TransientError: the catalog or the object store is away.
    """
    if catalog is None:
        with open_catalog(IcebergSettings.load()) as opened:
            return read_source(source, opened)
    if source.split is None:
        return _table_frame(catalog, source)
    table = open_training_table(catalog, int(source.snapshot_id), with_removed=True)
    rows = table.rows(int(source.split["label_horizon_minutes"]))
    split = Split(
        held_out_from=parse_utc(source.split["held_out_from"]),
        train_images=source.split["train_images"],
        held_out_images=source.split["held_out_images"],
    )
    return _side(rows, split, source.split["side"])[source.columns]


def moderation_source(snapshot_id: str, choice: HorizonChoice, side: str, columns: list[str]) -> IcebergDatasetSource:
    """Source of one side of the split of moderation.training_data.

    Args:
        snapshot_id: snapshot of the table.
        choice: label horizon and split.
        side: `TRAINING` or `TESTING`.
        columns: names of the columns, in order.
    """
    document = {
        "side": side,
        "label_horizon_minutes": choice.minutes,
        "held_out_from": utc_text(choice.split.held_out_from),
        "train_images": choice.split.train_images,
        "held_out_images": choice.split.held_out_images,
    }
    return IcebergDatasetSource(TRAINING_TABLE, snapshot_id, columns, document)


def _moderation(config: ProjectConfig, catalog: Catalog) -> ProjectData:
    columns = [*config.features, config.target]
    _refuse_unknown_columns(columns, FRAME_COLUMNS, TRAINING_TABLE)
    table = open_training_table(catalog)
    table.keep()
    choice = choose_horizon(table, TrainingSettings.load().label_horizon_minutes)
    rows = table.rows(choice.minutes)
    frames = [_side(rows, choice.split, side)[columns] for side in (TRAINING, TESTING)]
    sources = [moderation_source(str(table.snapshot_id), choice, side, columns) for side in (TRAINING, TESTING)]
    return ProjectData(frames[0], frames[1], sources[0], sources[1], choice)


def _side(rows: TrainingRows, split: Split, side: str) -> pd.DataFrame:
    """Usable rows of one side of the split."""
    if side == TRAINING:
        return examples_frame(map(split.train, rows.examples()))
    return examples_frame(map(split.held_out, rows.examples(row_filter=split.held_out_files)))


def _marvel(config: ProjectConfig, catalog: Catalog) -> ProjectData:
    columns = [*config.features, config.target]
    sources = [_newest(catalog, name, columns) for name in (TRAIN_TABLE, TEST_TABLE)]
    frames = [_table_frame(catalog, each) for each in sources]
    return ProjectData(frames[0], frames[1], sources[0], sources[1], None)


def _newest(catalog: Catalog, name: str, columns: list[str]) -> IcebergDatasetSource:
    with named_outages(f"{name} could not be opened"):
        try:
            table = catalog.load_table(name)
        except NoSuchTableError:
            raise UnusableDataError(f"{name} does not exist yet. {HOW_TO_WRITE}") from None
    snapshot = table.current_snapshot()
    if snapshot is None:
        raise UnusableDataError(f"{name} has no rows yet. {HOW_TO_WRITE}")
    _refuse_unknown_columns(columns, table.schema().column_names, name)
    return IcebergDatasetSource(name, str(snapshot.snapshot_id), columns)


def _table_frame(catalog: Catalog, source: IcebergDatasetSource) -> pd.DataFrame:
    """All rows of a snapshot."""
    with named_outages(f"{source.table} could not be opened"):
        try:
            table = catalog.load_table(source.table)
        except NoSuchTableError:
            raise PermanentError(f"{source.table} does not exist (any more). {HOW_TO_WRITE}") from None
    if table.snapshot_by_id(int(source.snapshot_id)) is None:
        raise PermanentError(
            f"{source.table} has no snapshot {source.snapshot_id} (any more): its rows cannot be read again. "
            "Train from the newest snapshot."
        )
    frame = stream_rows(table, source.columns, snapshot_id=int(source.snapshot_id)).read_all().to_pandas()
    return frame.reset_index(drop=True)


def _refuse_unknown_columns(wanted: list[str], there: Collection[str], table: str) -> None:
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise UnusableDataError(
            f"{table} has no column {', '.join(unknown)}: correct num_features, cat_features and target in the "
            "project's configuration."
        )


def _refuse_one_class(config: ProjectConfig, side: str, frame: pd.DataFrame, source: IcebergDatasetSource) -> None:
    classes = sorted(frame[config.target].unique().tolist())
    if classes == [0, 1]:
        return
    found = f"only class {classes[0]}" if len(classes) == 1 else f"the classes {classes}" if classes else "no rows"
    remedy = (
        "Leave LABEL_HORIZON_MINUTES empty, or let more traffic run and trigger the DAG moderation_training."
        if config.project == "moderation"
        else HOW_TO_WRITE
    )
    raise UnusableDataError(
        f"The {side} rows of {source.table} (snapshot {source.snapshot_id}) have {found} in {config.target}: a model "
        f"needs rows of class 0 and of class 1. {remedy}"
    )
