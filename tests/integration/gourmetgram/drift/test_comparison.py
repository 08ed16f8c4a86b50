"""Drift on real stores: decisions in PostgreSQL beside training rows in Iceberg."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from pyiceberg.catalog import Catalog
from sqlalchemy import Engine

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.drift.comparison import CALENDAR_FEATURES, DriftReport, compare_features
from gourmetgram.drift.reference import ModelInUse, model_in_use
from gourmetgram.drift.served import TimeWindow
from gourmetgram.errors import TransientError
from gourmetgram.models.artifacts import METADATA_NAME
from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.settings import PostgresSettings
from gourmetgram.training.dataset import UnusableDataError
from tests.support.drift import serve
from tests.support.models import artifacts
from tests.support.training_rows import synthetic_rows, write_rows

pytestmark = pytest.mark.servers

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
DAY = TimeWindow.last_hours(24, NOW)
IMAGES = 400

Compare = Callable[..., DriftReport]


@pytest.fixture
def engine(lake_environment: dict[str, str]) -> Iterator[Engine]:
    opened = create_worker_engine(PostgresSettings.load(lake_environment), "drift-test")
    yield opened
    opened.dispose()


@pytest.fixture
def compare(engine: Engine, catalog: Catalog) -> Compare:
    def compared(model: ModelInUse | None = None, window: TimeWindow = DAY) -> DriftReport:
        return compare_features(engine, catalog, model, window)

    return compared


@pytest.fixture
def database(lake_environment: dict[str, str]) -> str:
    return lake_environment["DATABASE_URL"]


@pytest.fixture
def snapshot(catalog: Catalog) -> int:
    """Training rows of 400 images."""
    return write_rows(catalog, synthetic_rows(IMAGES)) or 0


def fresh(images: int = IMAGES, **values: Any) -> list[dict[str, Any]]:
    """Rows of other images of the same kind, with some values changed."""
    return [{**row, **values} for row in synthetic_rows(images, seed=7)]


def at_point(rows: list[dict[str, Any]], *minutes: int) -> list[dict[str, Any]]:
    return [row for row in rows if row["decision_point_minutes"] in minutes]


def test_images_of_the_same_kind_have_not_drifted(compare: Compare, database: str, snapshot: int) -> None:
    serve(database, fresh(), NOW)
    report = compare(ModelInUse(3, snapshot))
    assert (report.model_version, report.snapshot_id) == (3, snapshot)
    assert report.served == report.training == {0: IMAGES, 5: IMAGES, 30: IMAGES}
    assert (report.drifted, report.missing, report.notices) == ([], "", [])
    assert set(report.psi) == {*report.psi, "views_5min", "category", "user_age_days"}
    assert len(report.psi) == 19
    assert report.psi["user_age_days"] == 0  # one value on both sides
    assert report.largest is not None
    assert 0 < report.largest.psi < 0.1
    assert report.summary == (
        f"No feature drifted: {report.largest.name} has the largest index, {report.largest.psi:.3f} (limit 0.2)."
    )


def test_a_changed_feature_is_named_and_others_are_not(compare: Compare, database: str, snapshot: int) -> None:
    rows = fresh(caption_length=80, has_caption=1)
    for row in rows[: len(rows) // 2]:
        row["category"] = "Soup"
    serve(database, rows, NOW)
    report = compare(ModelInUse(1, snapshot))
    assert set(report.drifted) == {"caption_length", "has_caption", "category"}
    assert report.largest is not None
    assert report.largest.name in ("caption_length", "has_caption")
    assert report.summary.startswith("3 features drifted: ")
    bins = {feature.name: {each.label: each for each in feature.bins} for feature in report.features}
    assert bins["caption_length"]["other"].served == 1
    assert bins["category"]["Soup"].served == pytest.approx(0.5 + 0.5 / 11, abs=0.01)
    assert bins["category"]["Soup"].training == pytest.approx(1 / 11, abs=0.01)
    assert report.psi["category"] == pytest.approx(sum(each.term for each in bins["category"].values()))


def test_another_mix_of_decision_points_is_no_drift(compare: Compare, database: str, snapshot: int) -> None:
    rows = fresh()
    serve(database, [*at_point(rows, 0), *at_point(rows, 30)[:40]], NOW)
    report = compare(ModelInUse(1, snapshot))
    assert report.served == {0: IMAGES, 30: 40}
    assert report.training == {0: IMAGES, 30: IMAGES}
    # Without weights, the minutes since the upload alone would have an index far above the limit.
    assert report.psi["time_since_upload_seconds"] == pytest.approx(0, abs=1e-4)
    assert report.drifted == []


def test_the_calendar_of_a_short_window_decides_nothing(compare: Compare, database: str, snapshot: int) -> None:
    serve(database, fresh(hour_of_day=3, day_of_week=6, is_weekend=1), NOW)
    report = compare(ModelInUse(1, snapshot))
    assert all(report.psi[name] > 0.2 for name in CALENDAR_FEATURES)
    assert report.drifted == []
    assert [feature.verdict for feature in report.ranked][-3:] == ["calendar"] * 3


def test_decisions_that_high_counts_caused_are_left_out_and_said_so(
    compare: Compare, database: str, snapshot: int
) -> None:
    serve(database, fresh(), NOW)
    before = compare(ModelInUse(1, snapshot))
    serve(database, fresh(50, views_5min=110), NOW, trigger_type="viral")
    serve(database, fresh(10), NOW, trigger_type=None)
    serve(database, fresh(), NOW, target_type="comment")
    serve(database, fresh(), NOW, features=None)
    serve(database, fresh(), NOW, features='{"views_5min": 1}')
    serve(database, fresh(views_5min=9), NOW - timedelta(hours=24))
    serve(database, fresh(views_5min=9), NOW + timedelta(microseconds=1))
    report = compare(ModelInUse(1, snapshot))
    assert report.psi == before.psi
    assert report.left_out == {"viral": 150, "unknown": 30}
    assert report.notices[0].startswith("Left out as not comparable: 150 viral, 30 unknown. ")


def test_too_few_rows_give_a_sentence_and_no_number(compare: Compare, database: str, snapshot: int) -> None:
    report = compare(ModelInUse(1, snapshot))
    assert report.missing.startswith("Too few rows for a comparison: 0 images were scored at a fixed time after ")
    serve(database, fresh(100), NOW)
    report = compare(ModelInUse(1, snapshot))
    assert (report.features, report.largest, report.psi, report.drifted) == ([], None, {}, [])
    assert "100 images were scored at a fixed time after the upload in 24 hours beside 400 training" in report.summary
    assert "TRIGGER_ON_UPLOAD=true" in report.summary
    assert report.served_rows == 300
    # Of the two sides together: a longer window helps.
    serve(database, fresh(300), NOW - timedelta(hours=30))
    longer = compare(ModelInUse(1, snapshot), TimeWindow.last_hours(48, NOW))
    assert (longer.missing, longer.served_rows) == ("", 1200)


def test_the_models_own_snapshot_is_taken_and_not_the_newest(
    compare: Compare, catalog: Catalog, database: str, snapshot: int
) -> None:
    newest = write_rows(catalog, [{**row, "caption_length": 80} for row in synthetic_rows(IMAGES, seed=3)])
    serve(database, fresh(), NOW)
    own = compare(ModelInUse(1, snapshot))
    assert (own.snapshot_id, own.psi["caption_length"], own.training_rows) == (snapshot, 0, 3 * IMAGES)
    for model, notice in (
        (None, "No model is in use: this is the newest snapshot."),
        (ModelInUse(2, None), "Model version 2 does not name its snapshot: this is the newest one."),
        (ModelInUse(2, 1), "Snapshot 1 of model version 2 has expired: this is the newest one."),
    ):
        other = compare(model)
        assert (other.snapshot_id, other.notices) == (newest, [notice])
        assert other.psi["caption_length"] > 0.2


def test_without_a_training_table_the_remedy_is_named(compare: Compare, database: str) -> None:
    serve(database, fresh(20), NOW)
    with pytest.raises(UnusableDataError, match=r"has no rows yet\. Let traffic or a backfill"):
        compare()


def test_the_model_in_use_is_that_of_the_published_metadata(publisher: ModelPublisher) -> None:
    assert model_in_use(publisher) is None
    files = artifacts(snapshot_id="77")
    metadata = orjson.loads(files.pop(METADATA_NAME))
    publisher.publish(ModelPackage(files, metadata))
    assert model_in_use(publisher) == ModelInUse(1, 77)
    metadata.pop("snapshot_id")
    publisher.publish(ModelPackage(files, metadata))
    assert model_in_use(publisher) == ModelInUse(2, None)
    publisher._write(METADATA_NAME, b"{")
    assert model_in_use(publisher) is None


def test_a_database_that_is_away_is_named(catalog: Catalog) -> None:
    engine = create_worker_engine(PostgresSettings(database_url="postgresql://user@127.0.0.1:1/x"), "drift-test")
    with pytest.raises(TransientError, match=r"The decisions could not be read: .*127\.0\.0\.1"):
        compare_features(engine, catalog, None, DAY)
    engine.dispose()
