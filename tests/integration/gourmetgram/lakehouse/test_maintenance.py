"""Tables stay small, what maintenance removes is gone from the bucket, and nobody notices."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from gourmetgram.errors import TransientError
from gourmetgram.lakehouse import commits
from gourmetgram.lakehouse.audit import event_counts
from gourmetgram.lakehouse.files import DataFileWriter, WriterLimits
from gourmetgram.lakehouse.leftovers import LEDGER, read_ledger, write_ledger
from gourmetgram.lakehouse.maintenance import MaintenancePolicy, maintain
from gourmetgram.lakehouse.progress import events_progress, own_properties, summary_of
from gourmetgram.lakehouse.reading import stream_rows
from gourmetgram.lakehouse.schemas import ALL_TABLES, DEFINITIONS, EVENTS, EVENTS_DEFINITION, WINDOW_TABLES
from gourmetgram.lakehouse.windows import write_windows
from tests.support.lakehouse_platform import LakehousePlatform

pytestmark = pytest.mark.servers

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT_ONCE = MaintenancePolicy(grace=timedelta(0))
EAGER = MaintenancePolicy(small_files_a_day=1, max_snapshots=1, keep_snapshots=1, grace=timedelta(0))


def files_in_bucket(table: Table) -> set[str]:
    """Everything in the table's folder, as the object store lists it."""
    path = table.location().removeprefix("s3://")
    assert isinstance(table.io, PyArrowFileIO)
    found = table.io.fs_by_scheme("s3", None).get_file_info(pafs.FileSelector(path, recursive=True))
    return {f"s3://{info.path}" for info in found if info.type == pafs.FileType.File}


def data_files(table: Table) -> set[str]:
    return {task.file.file_path for task in table.scan().plan_files()}


@pytest.mark.timeout(900)
def test_a_hundred_runs_leave_few_files_and_snapshots(lakehouse: LakehousePlatform) -> None:
    for number in range(100):
        lakehouse.publish_many(3)
        lakehouse.aggregate()
        if number % 2:  # fifty commits to its table are enough to be merged and to expire
            write_windows(lakehouse.sources.iceberg, "view")
    lakehouse.write_windows()
    lakehouse.assert_exact()
    policy = MaintenancePolicy()
    with lakehouse.catalog() as catalog:
        for name in (EVENTS, WINDOW_TABLES["view"]):
            table = catalog.load_table(name)
            days = {task.file.partition[0] for task in table.scan().plan_files()}
            assert len(data_files(table)) <= len(days) * (policy.small_files_a_day + 1)
            # One more for each of the commits between two looks: an append and a merge.
            assert len(table.metadata.snapshots) <= policy.max_snapshots + 2
            assert len(table.metadata.metadata_log) <= 20
            snapshot = table.current_snapshot()
            assert snapshot is not None
            assert len(snapshot.manifests(table.io)) <= 32
            started = time.process_time()
            list(table.scan().plan_files())
            # Processor time of this process, which a busy machine does not change.
            assert time.process_time() - started < 1
            maintain(table, AT_ONCE, clean=True)
            # All data, manifests, lists and metadata that the bucket still holds.
            assert len(files_in_bucket(table)) <= 200
    lakehouse.assert_exact()


def test_merging_keeps_every_row_and_the_progress(lakehouse: LakehousePlatform) -> None:
    for _ in range(4):
        lakehouse.publish_many(20)
        lakehouse.publish(lakehouse.make("view", at=lakehouse.now - timedelta(days=3)))
        lakehouse.run()
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
        before, files = events_progress(table), data_files(table)
        result = maintain(table, MaintenancePolicy(small_files_a_day=2))
        assert result.merged_files == len(files)
        assert result.new_files == len({task.file.partition[0] for task in table.scan().plan_files()})
        assert data_files(catalog.load_table(EVENTS)).isdisjoint(files)
        assert events_progress(catalog.load_table(EVENTS)) == before
    lakehouse.publish_many(10)
    assert lakehouse.run().records == 10
    lakehouse.assert_exact()


def test_every_snapshot_of_events_carries_the_progress(lakehouse: LakehousePlatform) -> None:
    for _ in range(3):
        lakehouse.publish_many(5)
        lakehouse.aggregate()
    lakehouse.aggregate()
    with lakehouse.catalog() as catalog:
        maintain(catalog.load_table(EVENTS), MaintenancePolicy(small_files_a_day=2))
        table = catalog.load_table(EVENTS)
        assert len(table.metadata.snapshots) == 5
        for snapshot in table.metadata.snapshots:
            keys = own_properties(summary_of(snapshot)).keys()
            assert {"gourmetgram.offsets", "gourmetgram.run_id", "gourmetgram.complete_through"} <= keys


def test_removed_files_are_gone_from_the_bucket_and_needed_ones_are_not(lakehouse: LakehousePlatform) -> None:
    for _ in range(3):
        lakehouse.publish_many(10)
        lakehouse.run()
    with lakehouse.catalog() as catalog:
        for name in ALL_TABLES:
            table = catalog.load_table(name)
            old = data_files(table)
            result = maintain(table, EAGER, clean=True)
            table = catalog.load_table(name)
            left = files_in_bucket(table)
            assert left.isdisjoint(old - data_files(table))
            assert {path for path in left if path.endswith(".parquet")} == data_files(table)
            if name == EVENTS:
                assert result.deleted_files >= len(old)
                assert len(table.metadata.snapshots) == 1
    lakehouse.publish_many(10)
    lakehouse.run()
    lakehouse.assert_exact()


def test_files_stay_for_the_time_of_grace(lakehouse: LakehousePlatform) -> None:
    for _ in range(3):
        lakehouse.publish_many(10)
        lakehouse.aggregate()
    hour = MaintenancePolicy(small_files_a_day=1, max_snapshots=1, keep_snapshots=1)
    with lakehouse.catalog() as catalog:
        reader = catalog.load_table(EVENTS)
        old = data_files(reader)
        assert maintain(catalog.load_table(EVENTS), hour).deleted_files == 0
        assert maintain(catalog.load_table(EVENTS), hour, clean=True).deleted_files == 0
        table = catalog.load_table(EVENTS)
        assert len(table.metadata.snapshots) == 1
        assert old <= files_in_bucket(table)
        # Who began before the merge reads on.
        assert stream_rows(reader, ["event_id"]).read_all().num_rows == 30
        assert maintain(table, AT_ONCE, clean=True).deleted_files >= len(old)
        assert old.isdisjoint(files_in_bucket(table))


def test_the_first_sight_of_an_unneeded_file_is_remembered(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(10)
    lakehouse.aggregate()
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
        orphan = f"{table.location()}/data/event_time_day=2026-01-01/orphan.parquet"
        with table.io.new_output(orphan).create() as stream:
            stream.write(b"left behind")
        policy = MaintenancePolicy(grace=timedelta(hours=1))
        assert maintain(table, policy, clean=True).deleted_files == 0
        ledger = read_ledger(table)
        assert orphan in ledger.seen
        earlier = {path: seen - timedelta(minutes=61) for path, seen in ledger.seen.items()}
        write_ledger(table, ledger._replace(seen=earlier))
        assert maintain(table, policy, clean=True).deleted_files >= 1
        left = files_in_bucket(table)
        assert orphan not in left
        assert f"{table.location()}/metadata/{LEDGER}" in left
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_a_killed_run_leaves_only_files_that_maintenance_removes(
    lakehouse: LakehousePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse.publish_many(10)
    lakehouse.aggregate()
    lakehouse.publish_many(10)
    with lakehouse.catalog() as catalog:
        before = files_in_bucket(catalog.load_table(EVENTS))

    class Power(BaseException):
        pass

    def fail(step: str) -> None:
        if step == "files written":
            raise Power

    # As a SIGKILL: nobody cleans up.
    monkeypatch.setattr(DataFileWriter, "discard", lambda _self: None)
    with pytest.raises(Power):
        lakehouse.aggregate(fail)
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
        orphans = files_in_bucket(table) - before
        assert any(path.endswith(".parquet") for path in orphans)
        maintain(table, AT_ONCE, clean=True)
        assert orphans.isdisjoint(files_in_bucket(table))
    lakehouse.run()
    lakehouse.assert_exact()


def test_maintenance_disturbs_neither_runs_nor_readers(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish_many(20)
    lakehouse.run()
    stop = threading.Event()
    grace = MaintenancePolicy(small_files_a_day=1, max_snapshots=2, keep_snapshots=1, grace=timedelta(minutes=5))

    def keep_maintaining() -> int:
        merged = 0
        while not stop.is_set():
            with lakehouse.catalog() as catalog:
                for name in (EVENTS, WINDOW_TABLES["view"]):
                    try:
                        merged += maintain(catalog.load_table(name), grace).merged_files
                    except TransientError:
                        continue
        return merged

    def keep_reading() -> list[int]:
        counts = []
        while not stop.is_set():
            with lakehouse.catalog() as catalog:
                counts.append(event_counts(catalog)["view"].events)
        return counts

    with ThreadPoolExecutor(2) as pool:
        maintaining, reading = pool.submit(keep_maintaining), pool.submit(keep_reading)
        try:
            for _ in range(8):
                lakehouse.publish_many(20)
                _until_committed(lakehouse)
        finally:
            stop.set()
        assert maintaining.result() > 0
        counts = reading.result()
    assert counts == sorted(counts)
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_a_commit_prepared_for_too_long_is_refused(
    lakehouse: LakehousePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse.publish_many(10)
    monkeypatch.setattr(commits, "MAX_RUN_S", -1.0)
    with pytest.raises(TransientError, match="nothing was committed"):
        lakehouse.aggregate()
    monkeypatch.undo()
    lakehouse.run()
    lakehouse.assert_exact()


def test_files_are_split_by_day_and_size_and_sorted_within_row_groups(lakehouse: LakehousePlatform) -> None:
    lakehouse.publish(
        *(
            lakehouse.make(
                ("view", "flag")[number % 2], at=lakehouse.now - timedelta(hours=number * 7 % 96, seconds=number)
            )
            for number in range(400)
        )
    )
    lakehouse.aggregate()
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
        limits = WriterLimits(buffered_rows=20, file_bytes=4_000, open_files=2)
        writer = DataFileWriter(table, EVENTS_DEFINITION, limits)
        rows = stream_rows(table, DEFINITIONS[EVENTS].schema.column_names).read_all()
        for start in range(0, 400, 20):
            writer.write(rows.slice(start, 20))
        files = writer.finish()
        assert sum(file.record_count for file in files) == 400
        assert len(files) > len({file.partition[0] for file in files}) >= 4
        assert all(file.file_size_in_bytes < 25_000 for file in files)
        for file in files:
            with table.io.new_input(file.file_path).open() as stream:
                parquet = pq.ParquetFile(stream)
                groups = [parquet.read_row_group(number) for number in range(parquet.num_row_groups)]
            assert file.file_size_in_bytes == len(table.io.new_input(file.file_path))
            assert sum(group.num_rows for group in groups) == file.record_count
            for group in groups:
                times = group["event_time"].to_pylist()
                assert times == sorted(times)
                assert len(set(group["event_type"].to_pylist())) == 1
                assert {(time - EPOCH).days for time in times} == {file.partition[0]}
        writer.discard()
        assert {file.file_path for file in files}.isdisjoint(files_in_bucket(table))


def _until_committed(lakehouse: LakehousePlatform) -> None:
    """As Airflow retries a task."""
    for _ in range(20):
        try:
            lakehouse.aggregate()
            write_windows(lakehouse.sources.iceberg, "view")
        except TransientError:
            continue
        return
    raise AssertionError("twenty attempts met a maintenance")
