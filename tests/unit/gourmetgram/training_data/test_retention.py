"""Snapshots that models and training rows name stay; the others expire, and rows that were removed train no model."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.lakehouse.maintenance import MaintenancePolicy, maintain
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.lakehouse.tags import tags_of
from gourmetgram.moments import utc_text
from gourmetgram.training.dataset import UnusableDataError, open_training_table
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.load import SUMMARY_KEYS, Load, load
from gourmetgram.training_data.names import EVENTS_SNAPSHOT_ID, EXTRACTED_AT, TRAINING_TABLE
from gourmetgram.training_data.retention import EVENTS_TAG, MODEL_TAG, TRAINED_TAG, maintain_training_data
from gourmetgram.training_data.table import ARROW_SCHEMA
from tests.support.local_lake import append_events
from tests.support.training_rows import training_row

EAGER = MaintenancePolicy(small_files_a_day=1, max_snapshots=1, keep_snapshots=1, grace=timedelta(0))
START = datetime(2026, 5, 17, tzinfo=UTC)


class Files:
    """The processed file of a transformation, on this machine."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "processed.parquet"

    def download(self, _name: str, path: Path) -> None:
        shutil.copy(self.path, path)


class Loads:
    """Daily loads of training rows."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog = catalog
        self.day = 0
        self._files = Files(folder)

    def load(self, images: Sequence[str], **values: Any) -> Load:
        """Load one row per image, made from the present history of events."""
        self.day += 1
        events = append_events(self.catalog)
        summary = dict.fromkeys(SUMMARY_KEYS, "1") | {
            EXTRACTED_AT: utc_text(START + timedelta(days=self.day)),
            EVENTS_SNAPSHOT_ID: str(events.metadata.current_snapshot_id),
        }
        rows = [training_row(image, START, total_flags=self.day, **values) for image in images]
        table = pa.Table.from_pylist(rows, schema=ARROW_SCHEMA.with_metadata(summary))
        pq.write_table(table, self._files.path)
        return load(cast(Lake, self._files), self.catalog)


@pytest.fixture
def loads(lake: Catalog, tmp_path: Path) -> Loads:
    return Loads(lake, tmp_path)


def snapshots(catalog: Catalog, table: str) -> set[int]:
    return {snapshot.snapshot_id for snapshot in catalog.load_table(table).metadata.snapshots}


def test_a_load_keeps_the_history_that_its_rows_were_made_from(lake: Catalog, loads: Loads) -> None:
    loads.load(["a"])
    used = lake.load_table(EVENTS).metadata.current_snapshot_id
    for _ in range(5):
        maintain(append_events(lake), EAGER, clean=True)
    table = lake.load_table(EVENTS)
    assert used in snapshots(lake, EVENTS)
    assert tags_of(table) == {f"{EVENTS_TAG}20260518T000000.000000Z": used}
    assert table.scan(snapshot_id=used).to_arrow().num_rows == 3


def test_the_snapshot_of_a_published_model_stays_and_those_that_no_model_names_expire(
    lake: Catalog, loads: Loads
) -> None:
    model = loads.load(["a", "b"]).snapshot_id
    assert model is not None
    others = {loads.load(["a", "b", str(number)]).snapshot_id for number in range(4)}
    newest = loads.load(["a"]).snapshot_id
    maintain_training_data(lake, {7: model}, EAGER)
    assert snapshots(lake, TRAINING_TABLE) == {model, newest}
    assert others.isdisjoint(snapshots(lake, TRAINING_TABLE))
    table = lake.load_table(TRAINING_TABLE)
    assert tags_of(table, MODEL_TAG) == {"model-7": model}
    assert table.scan(snapshot_id=model).to_arrow().num_rows == 2


def test_histories_stay_as_long_as_the_rows_that_were_made_from_them(lake: Catalog, loads: Loads) -> None:
    model = loads.load(["a"]).snapshot_id
    assert model is not None
    for number in range(4):
        loads.load([str(number)])
    maintain_training_data(lake, {1: model}, EAGER)
    assert [name.removeprefix(EVENTS_TAG)[:8] for name in tags_of(lake.load_table(EVENTS))] == ["20260518", "20260522"]


def test_the_tag_of_a_model_that_is_gone_is_dropped_and_its_snapshot_expires(lake: Catalog, loads: Loads) -> None:
    model = loads.load(["a"]).snapshot_id
    assert model is not None
    loads.load(["b"])
    maintain_training_data(lake, {1: model}, EAGER)
    loads.load(["c"])
    loads.load(["d"])
    maintain_training_data(lake, {}, EAGER)
    assert tags_of(lake.load_table(TRAINING_TABLE)) == {}
    assert model not in snapshots(lake, TRAINING_TABLE)


def test_a_model_whose_snapshot_has_expired_already_is_reported(
    lake: Catalog, loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    loads.load(["a"])
    maintain_training_data(lake, {3: 42}, EAGER)
    assert "snapshot 42 of tag model-3 has expired" in caplog.text
    assert tags_of(lake.load_table(TRAINING_TABLE)) == {}


def test_a_training_keeps_its_snapshot(lake: Catalog, loads: Loads) -> None:
    loads.load(["a"])
    training = open_training_table(lake)
    training.keep()
    training.keep()
    loads.load(["b"])
    loads.load(["c"])
    maintain_training_data(lake, {}, EAGER)
    assert training.snapshot_id in snapshots(lake, TRAINING_TABLE)
    assert list(tags_of(lake.load_table(TRAINING_TABLE))) == [f"{TRAINED_TAG}20260518T000000.000000Z"]


def test_only_the_newest_trainings_keep_their_snapshots(
    lake: Catalog, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gourmetgram.training_data.retention.MAX_TRAINED", 2)
    for number in range(4):
        loads.load([str(number)])
        open_training_table(lake).keep()
    assert [name.removeprefix(TRAINED_TAG)[:8] for name in tags_of(lake.load_table(TRAINING_TABLE))] == [
        "20260520",
        "20260521",
    ]


def test_a_snapshot_with_rows_that_were_removed_since_trains_no_model_unless_asked_for(
    lake: Catalog, loads: Loads
) -> None:
    before = loads.load(["a", "deleted"]).snapshot_id
    same = loads.load(["a", "deleted", "b"]).snapshot_id
    after = loads.load(["a", "b"]).snapshot_id
    newest = loads.load(["a", "b", "c"]).snapshot_id
    for snapshot_id in (before, same):
        with pytest.raises(UnusableDataError, match="--with-removed"):
            open_training_table(lake, snapshot_id)
        assert open_training_table(lake, snapshot_id, with_removed=True).snapshot_id == snapshot_id
    assert open_training_table(lake, after).snapshot_id == after
    assert open_training_table(lake).snapshot_id == newest


def test_files_of_expired_training_snapshots_leave_the_folder(lake: Catalog, loads: Loads) -> None:
    for number in range(6):
        loads.load(["a", str(number)])
    table = lake.load_table(TRAINING_TABLE)
    maintain_training_data(lake, {}, EAGER)
    files = {task.file.file_path for task in lake.load_table(TRAINING_TABLE).scan().plan_files()}
    left = {str(path) for path in Path(table.location().removeprefix("file://")).rglob("*.parquet")}
    assert {path.removeprefix("file://") for path in files} == left
