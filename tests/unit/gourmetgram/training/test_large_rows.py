"""Random rows of the large table: repeatable file by file, and within the ranges of the lab."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gourmetgram.features.definition import CATEGORIES
from gourmetgram.training.large_rows import LargeTablePlan

PLAN = LargeTablePlan(rows=47_000, file_rows=20_000)


def rows(plan: LargeTablePlan, number: int) -> pa.Table:
    return pa.Table.from_batches(list(plan.batches(number)))


def test_files_add_up_to_the_rows_of_the_plan() -> None:
    assert [PLAN.rows_of(number) for number in range(PLAN.files)] == [20_000, 20_000, 7_000]
    assert [rows(PLAN, number).num_rows for number in range(PLAN.files)] == [20_000, 20_000, 7_000]
    assert LargeTablePlan(6_000_000).files == 12


def test_a_file_has_the_same_rows_each_time_and_other_rows_than_its_neighbours() -> None:
    assert rows(PLAN, 1).equals(rows(PLAN, 1))
    assert not rows(PLAN, 0).equals(rows(PLAN, 1))
    assert not rows(PLAN, 0).equals(rows(LargeTablePlan(47_000, seed=43, file_rows=20_000), 0))


@pytest.mark.parametrize(
    "other",
    [LargeTablePlan(47_001, file_rows=20_000), LargeTablePlan(47_000, 43, 20_000), LargeTablePlan(47_000, 42, 10_000)],
)
def test_plans_with_other_rows_have_another_mark(other: LargeTablePlan) -> None:
    assert PLAN.mark == LargeTablePlan(47_000, 42, 20_000).mark
    assert other.mark != PLAN.mark


@pytest.mark.parametrize(
    ("column", "first", "last"),
    [("hour_of_day", 0, 23), ("flags_5min", 0, 9), ("is_weekend", 0, 1), ("label_needs_moderation_24h", 0, 1)],
)
def test_whole_numbers_fill_their_range(column: str, first: int, last: int) -> None:
    found = pc.min_max(rows(PLAN, 0)[column]).as_py()
    assert found == {"min": first, "max": last}


def test_categories_are_the_eleven_names() -> None:
    assert set(rows(PLAN, 0)["category"].to_pylist()) == set(CATEGORIES)
