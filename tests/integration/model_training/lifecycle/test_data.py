"""Rows that no model can be trained from, tables of the example, and snapshots that are gone."""

import threading
from datetime import timedelta

import mlflow.data
import pytest
from mlflow.entities import Dataset
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.settings import IcebergSettings
from gourmetgram.training.dataset import UnusableDataError
from model_training.lifecycle.config import ProjectConfig
from model_training.lifecycle.data import load_project, read_source
from model_training.lifecycle.marvel import TEST_TABLE, TRAIN_TABLE, marvel_rows, write_marvel_tables
from model_training.lifecycle.sources import SOURCE_TYPE, IcebergDatasetSource
from tests.support.lifecycle_platform import LifecyclePlatform
from tests.support.training_rows import NOW, synthetic_rows, training_row, write_rows

pytestmark = pytest.mark.servers


def refusal(config: ProjectConfig, catalog: Catalog) -> str:
    with pytest.raises(UnusableDataError) as refused:
        load_project(config, catalog)
    return str(refused.value)


def test_absent_tables_are_named_with_the_remedy(lifecycle: LifecyclePlatform, catalog: Catalog) -> None:
    found = refusal(lifecycle.config("moderation"), catalog)
    assert found.startswith("moderation.training_data has no rows yet. Let traffic or a backfill")
    found = refusal(lifecycle.config("marvel"), catalog)
    assert found.startswith("marvel_characters.train_set does not exist yet. Write the rows of the example with")


def test_too_few_images_are_named(lifecycle: LifecyclePlatform, catalog: Catalog) -> None:
    write_rows(catalog, synthetic_rows(images=9))
    assert "usable rows of 9 images" in refusal(lifecycle.config("moderation"), catalog)


def test_one_class_is_named(lifecycle: LifecyclePlatform, catalog: Catalog) -> None:
    quiet = [training_row(f"quiet {number}", NOW - timedelta(days=3, minutes=number)) for number in range(40)]
    write_rows(catalog, quiet)
    assert "all of class 0: a model needs both classes" in refusal(lifecycle.config("moderation"), catalog)


def test_one_class_on_the_test_side_is_named(
    lifecycle: LifecyclePlatform, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        training_row(f"image {number:02}", NOW - timedelta(days=3) + timedelta(minutes=number), **label)
        for number in range(40)
        for label in [{"label_needs_moderation_24h": number % 2 if number < 20 else 0}]
    ]
    write_rows(catalog, rows)
    monkeypatch.setenv("LABEL_HORIZON_MINUTES", "30")
    found = refusal(lifecycle.config("moderation"), catalog)
    assert found.startswith("The test rows of moderation.training_data (snapshot ")
    assert "have only class 0 in label_needs_moderation_24h" in found
    assert "Leave LABEL_HORIZON_MINUTES empty" in found


def test_an_unknown_column_is_named(lifecycle: LifecyclePlatform, catalog: Catalog) -> None:
    write_marvel_tables(catalog)
    wrong = lifecycle.config("marvel", num_features=["Height", "Wieght"])
    assert refusal(wrong, catalog).startswith("marvel_characters.train_set has no column Wieght: correct num_features")
    wrong = lifecycle.config("moderation", target="label")
    write_rows(catalog, synthetic_rows(images=20))
    assert refusal(wrong, catalog).startswith("moderation.training_data has no column label: correct")


def test_the_tables_of_the_example_are_written_once(catalog: Catalog) -> None:
    write_marvel_tables(catalog)
    first = [catalog.load_table(name).metadata.current_snapshot_id for name in (TRAIN_TABLE, TEST_TABLE)]
    write_marvel_tables(catalog)
    assert [catalog.load_table(name).metadata.current_snapshot_id for name in (TRAIN_TABLE, TEST_TABLE)] == first


def test_foreign_rows_of_the_example_are_replaced(catalog: Catalog) -> None:
    write_marvel_tables(catalog)
    table = catalog.load_table(TEST_TABLE)
    expected = table.scan().to_arrow().to_pylist()
    table.append(marvel_rows(10)[0])
    write_marvel_tables(catalog)
    assert catalog.load_table(TEST_TABLE).scan().to_arrow().to_pylist() == expected


def test_two_writers_of_the_example_at_once_leave_its_rows(lake_environment: dict[str, str], catalog: Catalog) -> None:
    barrier = threading.Barrier(2)

    def write() -> None:
        with open_catalog(IcebergSettings.load(lake_environment)) as own:
            barrier.wait()
            write_marvel_tables(own)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = [catalog.load_table(name).scan().count() for name in (TRAIN_TABLE, TEST_TABLE)]
    assert counts == [4_000, 1_000]


def test_an_expired_snapshot_is_named(
    lifecycle: LifecyclePlatform,
    catalog: Catalog,
    lake_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_marvel_tables(catalog)
    write_rows(catalog, synthetic_rows(images=20))
    sources = [load_project(lifecycle.config(project), catalog).train_source for project in ("marvel", "moderation")]
    for source in sources:
        table = catalog.load_table(source.table)
        table.append(table.scan().to_arrow())
        table.maintenance.expire_snapshots().by_id(int(source.snapshot_id)).commit()
        for name, value in lake_environment.items():
            monkeypatch.setenv(name, value)
        stored = Dataset(source.table, source.digest, SOURCE_TYPE, source.to_json())
        with pytest.raises(PermanentError, match=rf"{source.table} has no snapshot {source.snapshot_id} \(any more\)"):
            mlflow.data.get_source(stored).load()


def test_a_dropped_table_is_named(catalog: Catalog) -> None:
    gone = IcebergDatasetSource("marvel_characters.gone", "1", ["Height"])
    with pytest.raises(PermanentError, match=r"marvel_characters\.gone does not exist \(any more\)"):
        read_source(gone, catalog)
