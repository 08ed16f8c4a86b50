"""From rows of moderation.training_data to a model that the scorer's own loader takes."""

import io
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import orjson
import pyarrow as pa
import pytest
import sklearn
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES
from gourmetgram.models.artifacts import ARTIFACT_NAMES
from gourmetgram.models.package import metadata_text, read_package, write_package
from gourmetgram.models.publishing import ModelPublisher, check_package
from gourmetgram.training.dataset import UnusableDataError, open_training_table
from gourmetgram.training.evaluation import Metrics
from gourmetgram.training.run import TrainingRun, train
from gourmetgram.training.survey import choose_horizon
from gourmetgram.training_data.table import ARROW_SCHEMA, ICEBERG_SCHEMA, TRAINING_TABLE, ensure_training_table
from risk_scoring_service.model_poller import ModelPoller
from tests.support.training_rows import NOW, synthetic_rows, training_row, write_rows

pytestmark = pytest.mark.servers

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def trained(catalog: Catalog, **options: Any) -> TrainingRun:
    return train(catalog, **{"version": 1, "passes": 3, **options})


def test_a_model_goes_from_the_table_to_the_scorer(catalog: Catalog, publisher: ModelPublisher) -> None:
    write_rows(catalog, synthetic_rows(images=300))
    run = trained(catalog, version=publisher.next_version())
    published = publisher.publish(run.package)
    poller = ModelPoller(publisher, interval_s=30)
    poller.look()
    assert poller.model is not None
    assert poller.model.version == "1"
    assert poller.model.metadata.rows_seen == run.balance.rows == 720
    rows = np.random.default_rng(1).random((5, 29)).astype(np.float32)
    assert poller.model.predict(rows).tolist() == check_package(published).predict(rows).tolist()


def figures(metrics: Metrics) -> tuple[float, float]:
    """Average precision and log-loss, both defined."""
    assert metrics.average_precision is not None
    assert metrics.log_loss is not None
    return metrics.average_precision, metrics.log_loss


def test_a_model_learns_what_the_rules_cannot_see(catalog: Catalog) -> None:
    write_rows(catalog, synthetic_rows(images=1500))
    run = trained(catalog, passes=None)
    (precision, loss), (precision_of_rules, loss_of_rules) = figures(run.model), figures(run.rules)
    assert precision > precision_of_rules
    assert loss < loss_of_rules


def test_metadata_says_what_the_contract_asks_for(catalog: Catalog, tmp_path: Path) -> None:
    snapshot_id = write_rows(catalog, synthetic_rows(images=100))
    run = trained(catalog, version=7)
    write_package(run.package, tmp_path)
    metadata = orjson.loads((tmp_path / "metadata.json").read_bytes())
    assert metadata["version"] == 7
    assert metadata["snapshot_id"] == str(snapshot_id)
    assert metadata["trained_at"].endswith("Z") and metadata["updated_at"].endswith("Z")
    assert (metadata["rows_seen"], metadata["batches_seen"]) == (240, 6)
    assert metadata["algorithm"] == "SGDClassifier(log_loss)"
    assert metadata["feature_names"] == list(FEATURE_NAMES)
    for whose in ("model", "heuristic"):
        assert {"auc", "average_precision", "log_loss"} <= set(metadata["metrics"][whose])
    assert (metadata["metrics"]["train_images"], metadata["metrics"]["held_out_images"]) == (80, 20)
    assert (metadata["metrics"]["train_rows"], metadata["metrics"]["held_out_rows"]) == (240, 60)
    balance = metadata["class_balance"]
    assert balance["0"] + balance["1"] == 240
    assert set(balance) == {"0", "1", "held_out"}
    assert metadata["label_horizon_minutes"] == 1440
    assert metadata["library_versions"] == {
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
    assert set(metadata["sha256"]) == set(ARTIFACT_NAMES)
    check_package(read_package(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*ARTIFACT_NAMES, "metadata.json"])
    encoder = joblib.load(tmp_path / "encoder.joblib")
    texts = np.array([["Rice"], ["Nothing we know"]], dtype=object)
    assert encoder.transform(texts).tolist() == [[float(name == "Rice") for name in CATEGORIES], [0.0] * 11]


def test_the_scaler_has_seen_every_training_row_once_and_no_other(catalog: Catalog) -> None:
    rows = synthetic_rows(images=50)
    write_rows(catalog, rows)
    run = trained(catalog)
    files = run.package.files
    scaler = joblib.load(io.BytesIO(files["scaler.joblib"]))
    views = [row["views_5min"] for row in rows[:120]]
    assert scaler.n_samples_seen_ == 120
    assert scaler.mean_[FEATURE_NAMES.index("views_5min")] == pytest.approx(np.mean(views))


def test_the_same_snapshot_gives_the_same_model(catalog: Catalog) -> None:
    first = write_rows(catalog, synthetic_rows(images=60))
    before = trained(catalog)
    write_rows(catalog, [training_row("later", NOW + 5 * DAY)])
    again = trained(catalog, snapshot_id=first)
    assert again.package.files == before.package.files
    assert again.snapshot_id == first


def test_no_image_is_on_both_sides_and_held_out_uploads_are_later(catalog: Catalog) -> None:
    rows = synthetic_rows(images=50)
    # The last training image's latest row has an anchor after the first held-out image's upload.
    for row in rows:
        row["anchor_time"] = NOW + (row["anchor_time"] - NOW) / 1000
        minutes = row["decision_point_minutes"] * MINUTE
        row["anchor_time"] = NOW + timedelta(seconds=int(row["image_id"][-2:], 16)) + minutes
        row["label_observed_until"] = row["anchor_time"] - minutes + DAY
        if row["label_needs_moderation_24h"]:
            row["first_flagged_at"] = row["anchor_time"] + MINUTE
    write_rows(catalog, rows)
    table = open_training_table(catalog)
    choice = choose_horizon(table)
    found, split = table.rows(choice.minutes), choice.split
    train_side: dict[str, int] = {}
    held_out: dict[str, int] = {}
    for examples in found.examples(with_ids=True):
        for choose, seen in ((split.train, train_side), (split.held_out, held_out)):
            part = choose(examples)
            assert part.image_ids is not None
            seen.update(zip(part.image_ids.to_pylist(), part.uploads_us.tolist(), strict=True))
    assert not set(train_side) & set(held_out)
    assert max(train_side.values()) < min(held_out.values())
    assert (len(train_side), len(held_out)) == (split.train_images, split.held_out_images) == (40, 10)


def young_rows(images: int = 100, minutes: int = 45) -> list[dict[str, Any]]:
    """Rows of images uploaded steadily until the extraction at `NOW`; every third was flagged at 3 minutes."""
    rows = []
    for number in range(images):
        uploaded = NOW - minutes * MINUTE + number / images * minutes * MINUTE
        for after in (0, 5, 30):
            anchor, flagged_at = uploaded + after * MINUTE, uploaded + 3 * MINUTE
            if anchor <= NOW:
                flagged: dict[str, Any] = {"label_needs_moderation_24h": None}
                if number % 3 == 0 and anchor < flagged_at <= NOW:
                    flagged = {"label_needs_moderation_24h": 1, "first_flagged_at": flagged_at}
                rows.append(training_row(f"{number}", uploaded, after, label_observed_until=NOW, **flagged))
    return rows


def test_a_young_table_gives_a_model_with_the_longest_horizon_that_enough_rows_were_observed_for(
    catalog: Catalog,
) -> None:
    rows = young_rows()
    write_rows(catalog, rows)
    run = trained(catalog)
    observed = {minutes: [row for row in rows if row["anchor_time"] <= NOW - minutes * MINUTE] for minutes in (15, 5)}
    assert len(observed[15]) < 0.6 * len(rows) <= len(observed[5])
    assert run.choice.minutes == run.package.metadata["label_horizon_minutes"] == 5
    shares = {found.minutes: (found.observed, found.rows) for found in run.choice.candidates}
    assert shares[15] == (len(observed[15]), len(rows))
    assert run.balance.rows + run.scores.balance.rows == shares[5][0] == len(observed[5])
    flagged = sum(row["first_flagged_at"] is not None for row in observed[5])
    assert run.balance.positive + run.scores.balance.positive == flagged


def test_a_horizon_that_is_given_is_used_as_it_is(catalog: Catalog) -> None:
    rows = young_rows()
    write_rows(catalog, rows)
    run = trained(catalog, horizon_minutes=20)
    used = [row for row in rows if row["anchor_time"] <= NOW - 20 * MINUTE]
    assert run.package.metadata["label_horizon_minutes"] == 20
    assert run.balance.rows + run.scores.balance.rows == len(used) < 0.6 * len(rows)


def test_a_given_horizon_that_leaves_one_class_is_an_error_that_names_the_setting(catalog: Catalog) -> None:
    write_rows(catalog, young_rows())
    with pytest.raises(UnusableDataError, match=r"all of class 0.*Leave LABEL_HORIZON_MINUTES empty"):
        trained(catalog, horizon_minutes=2)


def test_a_table_that_is_too_young_says_how_long_to_wait_and_what_goes_at_once(catalog: Catalog) -> None:
    write_rows(catalog, young_rows(minutes=6))
    table = open_training_table(catalog)
    # Of 117 rows 71 must have been observed for five minutes: four minutes after the extraction 84 are.
    with pytest.raises(UnusableDataError, match="is too young: 17 of 117 rows were observed for 5 minutes") as raised:
        choose_horizon(table, now=NOW + MINUTE)
    assert "moderation_training again in 3 minutes (at 00:04 UTC)" in str(raised.value)
    assert "GENERATOR_MODE=backfill" in str(raised.value)
    with pytest.raises(UnusableDataError, match="moderation_training again now: then 60 % of these rows"):
        choose_horizon(table, now=NOW + 10 * MINUTE)


def test_a_flag_whose_moment_is_lost_is_a_label_of_the_whole_day_only(catalog: Catalog) -> None:
    rows = synthetic_rows(images=40)
    for row in rows:
        row["first_flagged_at"] = None
    write_rows(catalog, rows)
    table = open_training_table(catalog)
    positive = sum(row["label_needs_moderation_24h"] for row in rows)
    counts = {found.minutes: (found.observed, found.positive) for found in choose_horizon(table, 1440).candidates}
    assert counts == {1440: (120, positive)}
    assert choose_horizon(table).minutes == 1440
    with pytest.raises(UnusableDataError, match=f"{120 - positive} usable rows .* all of class 0"):
        choose_horizon(table, 240)


def test_a_snapshot_without_the_column_is_refused_with_what_to_do(catalog: Catalog) -> None:
    columns = Schema(*ICEBERG_SCHEMA.fields[:-1])
    catalog.create_namespace_if_not_exists("moderation")
    old = catalog.create_table(TRAINING_TABLE, columns)
    old.append(pa.Table.from_pylist(synthetic_rows(images=20), schema=ARROW_SCHEMA).drop_columns(["first_flagged_at"]))
    with pytest.raises(UnusableDataError, match="of an earlier version, without first_flagged_at: trigger"):
        trained(catalog)
    ensure_training_table(catalog)
    # A run that finds nothing to change adds the column without a new snapshot.
    first = open_training_table(catalog).snapshot_id
    write_rows(catalog, [training_row("later", NOW)])
    with pytest.raises(UnusableDataError, match="of an earlier version"):
        trained(catalog, snapshot_id=first)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "has no rows yet"),
        (synthetic_rows(images=9), "usable rows of 9 images with a label horizon of 1440 minutes; at least 10"),
        ([training_row(f"{n}", NOW + n * MINUTE) for n in range(20)], "all of class 0"),
        ([training_row(f"{n}", NOW + n * MINUTE, label_needs_moderation_24h=1) for n in range(20)], "all of class 1"),
        ([training_row(f"{n}", NOW, label_needs_moderation_24h=n % 2) for n in range(20)], "too few different times"),
    ],
    ids=["empty", "few", "unflagged", "flagged", "at once"],
)
def test_unusable_rows_end_in_a_sentence_that_says_what_to_do(
    catalog: Catalog, rows: list[dict[str, Any]], reason: str
) -> None:
    write_rows(catalog, rows)
    with pytest.raises(UnusableDataError, match=reason) as raised:
        trained(catalog)
    assert "moderation_training" in str(raised.value)


def test_a_missing_table_ends_in_the_same_sentence(catalog: Catalog) -> None:
    with pytest.raises(UnusableDataError, match="has no rows yet"):
        trained(catalog)


def test_held_out_rows_of_one_class_give_null_figures_with_the_reason(catalog: Catalog) -> None:
    rows = synthetic_rows(images=50)
    # More than the half that a split may hold out.
    for row in rows[-90:]:
        row |= {"label_needs_moderation_24h": 0, "first_flagged_at": None}
    write_rows(catalog, rows)
    document = orjson.loads(metadata_text(trained(catalog, horizon_minutes=1440).package.metadata))["metrics"]
    for whose in ("model", "heuristic"):
        assert document[whose]["auc"] is None
        assert "all of class 0" in document[whose]["undefined"]["auc"]
        assert document[whose]["log_loss"] > 0


def test_times_do_not_depend_on_the_machine(catalog: Catalog) -> None:
    write_rows(catalog, [row | {"anchor_time": row["anchor_time"].astimezone(UTC)} for row in synthetic_rows(20)])
    split = choose_horizon(open_training_table(catalog), 1440).split
    assert split.held_out_from == datetime(2026, 3, 8, 14, 24, tzinfo=UTC)
