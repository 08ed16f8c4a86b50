"""The large table: an interrupted run is continued, and the old table stays until the new one is complete."""

from collections.abc import Callable
from datetime import datetime

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from gourmetgram.training.large_rows import FILE_ROWS, LargeTablePlan
from gourmetgram.training.large_table import LARGE_TABLE, UNFINISHED, complete_large_table, replace_large_table

pytestmark = pytest.mark.servers

# Three files of two row groups.
PLAN = LargeTablePlan(450_000, file_rows=150_000)
REPORTS = (100_000, 150_000, 250_000, 300_000, 400_000, 450_000)


class StoppedError(Exception):
    """End of a run in the middle, as by Ctrl-C."""


def stop_at(rows: int) -> Callable[[int], None]:
    def report(written: int) -> None:
        if written >= rows:
            raise StoppedError

    return report


def expected(plan: LargeTablePlan) -> pa.Table:
    return pa.Table.from_batches([batch for number in range(plan.files) for batch in plan.batches(number)])


def sorted_rows(table: pa.Table) -> pa.Table:
    order = [(name, "ascending") for name in ("view_velocity_per_min", "comment_to_view_ratio")]
    return table.sort_by(order).combine_chunks()


def assert_has_rows(table: Table, plan: LargeTablePlan) -> None:
    wanted = expected(plan)
    assert sorted_rows(table.scan().to_arrow().cast(wanted.schema)).equals(sorted_rows(wanted))


def files_of(table: Table) -> dict[str, datetime]:
    """Modification times of the data files at the place of a table, by their names."""
    assert isinstance(table.io, PyArrowFileIO)
    place = table.location().removeprefix("s3://")
    selector = pafs.FileSelector(place, recursive=True, allow_not_found=True)
    found = table.io.fs_by_scheme("s3", "").get_file_info(selector)
    return {file.base_name: file.mtime for file in found if file.is_file and file.base_name.endswith(".parquet")}


def test_a_new_table_takes_the_place_of_the_old_one_and_leaves_nothing_of_it(catalog: Catalog) -> None:
    old = replace_large_table(catalog, LargeTablePlan(130_000, file_rows=50_000))
    assert len(files_of(old)) == 3
    new = replace_large_table(catalog, PLAN)
    assert_has_rows(new, PLAN)
    assert files_of(old) == {}
    assert [name[-1] for name in catalog.list_tables("moderation")] == [LARGE_TABLE.split(".")[-1]]


@pytest.mark.parametrize("rows", REPORTS)
def test_a_run_that_was_stopped_is_continued_with_its_complete_files(catalog: Catalog, rows: int) -> None:
    old = replace_large_table(catalog, LargeTablePlan(20_000))
    with pytest.raises(StoppedError):
        replace_large_table(catalog, PLAN, stop_at(rows))
    assert catalog.load_table(LARGE_TABLE).location() == old.location()
    before = files_of(catalog.load_table(UNFINISHED))
    reports: list[int] = []
    finished = replace_large_table(catalog, PLAN, reports.append)
    assert_has_rows(finished, PLAN)
    complete = rows // PLAN.file_rows
    after = files_of(finished)
    kept = [name for name in before if after[name] == before[name]]
    assert kept == [f"{number:05d}.parquet" for number in range(complete)]
    # One report for each file that was there, two for each that was written.
    assert len(reports) == complete + 2 * (PLAN.files - complete)


def test_a_run_that_was_stopped_before_the_exchange_only_exchanges(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_names: str) -> Table:
        raise StoppedError

    with monkeypatch.context() as broken, pytest.raises(StoppedError):
        broken.setattr(catalog, "rename_table", refuse)
        replace_large_table(catalog, PLAN)
    before = files_of(catalog.load_table(UNFINISHED))
    finished = replace_large_table(catalog, PLAN)
    assert files_of(finished) == before
    assert_has_rows(finished, PLAN)


def test_an_unfinished_table_of_another_size_is_deleted_with_its_files(catalog: Catalog) -> None:
    with pytest.raises(StoppedError):
        replace_large_table(catalog, PLAN, stop_at(300_000))
    unfinished = catalog.load_table(UNFINISHED)
    other = LargeTablePlan(60_000, file_rows=30_000)
    assert_has_rows(replace_large_table(catalog, other), other)
    assert files_of(unfinished) == {}


def test_a_table_is_recognised_by_rows_and_seed(catalog: Catalog) -> None:
    plan = LargeTablePlan(20_000)
    assert complete_large_table(catalog, plan) is None
    replace_large_table(catalog, plan)
    assert complete_large_table(catalog, plan) is not None
    assert complete_large_table(catalog, LargeTablePlan(20_001)) is None
    assert complete_large_table(catalog, LargeTablePlan(20_000, seed=1)) is None


def test_files_have_row_groups_that_fit_into_little_memory(catalog: Catalog) -> None:
    table = replace_large_table(catalog, LargeTablePlan(FILE_ROWS))
    (task,) = table.scan().plan_files()
    assert 10_000_000 < task.file.file_size_in_bytes < 64 * 2**20
