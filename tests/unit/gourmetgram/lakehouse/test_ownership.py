"""A catalog that does not own a table's folder removes no file there."""

import logging
import shutil
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from gourmetgram.lakehouse import leftovers
from gourmetgram.lakehouse.leftovers import LEDGER, read_ledger
from gourmetgram.lakehouse.maintenance import MaintenancePolicy, maintain
from gourmetgram.lakehouse.ownership import MARK, adopt, read_mark, refusal
from gourmetgram.lakehouse.schemas import EVENTS, EVENTS_DEFINITION, ensure_tables
from tests.support.local_lake import append_events, files_in_folder, local_path, open_local_catalog

EAGER = MaintenancePolicy(small_files_a_day=1, max_snapshots=1, keep_snapshots=1, grace=timedelta(0))
AT_ONCE = MaintenancePolicy(grace=timedelta(0))


def fill(lake: Catalog, runs: int = 5, policy: MaintenancePolicy = EAGER) -> set[str]:
    """Run and maintain several times; returns the files that are there then."""
    for _ in range(runs):
        maintain(append_events(lake), policy)
    return without_own(lake.load_table(EVENTS))


def without_own(table: Table) -> set[str]:
    return {path for path in files_in_folder(table) if not path.endswith((LEDGER, MARK))}


def forget_mark(table: Table) -> None:
    """As a version without marks left the folder."""
    local_path(f"{table.location()}/metadata/{MARK}").unlink()


def drop_and_create(lake: Catalog) -> None:
    lake.drop_table(EVENTS)
    ensure_tables(lake)


@pytest.mark.parametrize("marked", [True, False])
def test_files_of_a_dropped_table_stay_however_often_its_successor_is_maintained(
    lake: Catalog, marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    old = fill(lake)
    if not marked:
        forget_mark(lake.load_table(EVENTS))
    drop_and_create(lake)
    for _ in range(12):
        assert maintain(append_events(lake), EAGER, clean=True).deleted_files == 0
    assert old <= files_in_folder(lake.load_table(EVENTS))
    assert "No file of event_aggregations.events is removed" in caplog.text
    assert "gourmetgram adopt tables" in caplog.text


@pytest.mark.parametrize("lost_commits", [1, 7, 15])
def test_files_that_a_restored_catalog_does_not_know_stay(lake: Catalog, tmp_path: Path, lost_commits: int) -> None:
    fill(lake)
    shutil.copy(tmp_path / "catalog.db", tmp_path / "backup.db")
    newest = append_events(lake)
    for _ in range(lost_commits - 1):
        newest = append_events(lake)
    maintain(newest, AT_ONCE)
    known = {task.file.file_path for task in newest.scan().plan_files()}
    lake.close()
    shutil.copy(tmp_path / "backup.db", tmp_path / "catalog.db")
    restored = open_local_catalog(tmp_path)
    for _ in range(12):
        maintain(append_events(restored), EAGER, clean=True)
    assert known <= files_in_folder(restored.load_table(EVENTS))
    assert "it was restored from a backup" in (refusal(restored.load_table(EVENTS)) or "")


def test_an_earlier_state_is_remembered_after_the_table_has_forgotten_its_history(
    lake: Catalog, tmp_path: Path
) -> None:
    fill(lake)
    table = lake.load_table(EVENTS)
    forget_mark(table)
    shutil.copy(tmp_path / "catalog.db", tmp_path / "backup.db")
    for _ in range(3):
        lost = append_events(lake)
    known = {task.file.file_path for task in lost.scan().plan_files()}
    lake.close()
    shutil.copy(tmp_path / "backup.db", tmp_path / "catalog.db")
    restored = open_local_catalog(tmp_path)
    maintain(restored.load_table(EVENTS), EAGER, clean=True)
    for _ in range(25):
        append_events(restored)
    maintain(restored.load_table(EVENTS), EAGER, clean=True)
    assert known <= files_in_folder(restored.load_table(EVENTS))


def test_an_empty_catalog_removes_nothing_of_the_warehouse_it_is_pointed_at(lake: Catalog, tmp_path: Path) -> None:
    old = fill(lake)
    (tmp_path / "other").mkdir()
    other = open_local_catalog(tmp_path / "other", warehouse=tmp_path)
    ensure_tables(other)
    assert other.load_table(EVENTS).location() == lake.load_table(EVENTS).location()
    fill(other, runs=10)
    assert old <= files_in_folder(other.load_table(EVENTS))
    # The true catalog goes on, and still owns the folder.
    assert refusal(lake.load_table(EVENTS)) is None


def test_a_table_of_an_earlier_version_gets_its_mark_and_is_cleaned_as_before(lake: Catalog) -> None:
    fill(lake)
    table = lake.load_table(EVENTS)
    forget_mark(table)
    orphan = f"{table.location()}/data/event_time_day=2026-05-17/orphan.parquet"
    local_path(orphan).write_bytes(b"left behind")
    assert maintain(append_events(lake), AT_ONCE, clean=True).deleted_files >= 1
    table = lake.load_table(EVENTS)
    assert orphan not in files_in_folder(table)
    mark = read_mark(table)
    assert mark is not None
    assert mark.table_uuid == str(table.metadata.table_uuid)
    assert mark.metadata == table.metadata_location


def test_metadata_of_a_lost_race_takes_no_folder_away(lake: Catalog) -> None:
    fill(lake)
    table = lake.load_table(EVENTS)
    forget_mark(table)
    metadata = local_path(table.metadata_location)
    shutil.copy(metadata, metadata.with_name("00003-12345678-1234-1234-1234-123456789012.metadata.json"))
    assert refusal(table) is None


def test_an_attempt_to_create_the_table_again_takes_no_folder_away(lake: Catalog) -> None:
    fill(lake)
    forget_mark(lake.load_table(EVENTS))
    lake.create_table_if_not_exists(EVENTS, EVENTS_DEFINITION.schema)
    assert refusal(lake.load_table(EVENTS)) is None


def test_an_adopted_folder_is_the_catalogs_and_its_strange_files_go(lake: Catalog) -> None:
    old = fill(lake)
    drop_and_create(lake)
    maintain(append_events(lake), AT_ONCE, clean=True)
    adopt(lake.load_table(EVENTS))
    assert refusal(lake.load_table(EVENTS)) is None
    maintain(append_events(lake), AT_ONCE, clean=True)
    table = lake.load_table(EVENTS)
    assert old.isdisjoint(files_in_folder(table))
    assert table.scan().to_arrow().num_rows == 6


def test_a_maintenance_that_would_remove_a_large_part_of_a_folder_removes_nothing(
    lake: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leftovers, "ALWAYS_ALLOWED", 5)
    fill(lake)
    table = lake.load_table(EVENTS)
    strangers = {f"{table.location()}/data/{number}.parquet" for number in range(6)}
    for stranger in strangers:
        local_path(stranger).write_bytes(b"unknown")
    assert maintain(append_events(lake), AT_ONCE, clean=True).deleted_files == 0
    assert strangers <= files_in_folder(table)
    assert "does not know 6 of" in caplog.text
    adopt(table)
    assert maintain(append_events(lake), AT_ONCE, clean=True).deleted_files >= 6


def test_files_of_expired_snapshots_are_removed_however_many_they_are(
    lake: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "ALWAYS_ALLOWED", 0)
    maintain(append_events(lake), AT_ONCE)
    for _ in range(30):
        append_events(lake)
    result = maintain(lake.load_table(EVENTS), EAGER)
    assert result.expired_snapshots > 20
    assert result.deleted_files > 20
    table = lake.load_table(EVENTS)
    assert table.scan().to_arrow().num_rows == 93
    assert not read_ledger(table).expired


def test_a_ledger_of_an_earlier_version_is_read(lake: Catalog) -> None:
    table = append_events(lake)
    document = {"s3://x/a.parquet": "2026-05-17T12:00:00.000000Z"}
    local_path(f"{table.location()}/metadata/{LEDGER}").write_bytes(orjson.dumps(document))
    assert list(read_ledger(table).seen) == ["s3://x/a.parquet"]


def test_a_refusal_is_said_once_a_maintenance(lake: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    fill(lake)
    drop_and_create(lake)
    maintain(append_events(lake), EAGER, clean=True)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
