"""Sources of datasets: their stored form and their digests."""

import mlflow.data
from mlflow.entities import Dataset

from model_training.lifecycle.sources import SOURCE_TYPE, IcebergDatasetSource

SPLIT = {"side": "training", "label_horizon_minutes": 60, "held_out_from": "2026-03-08T14:24:00.000000Z"}


def source(snapshot: str = "9223372036854775807", **split: object) -> IcebergDatasetSource:
    return IcebergDatasetSource("moderation.training_data", snapshot, ["views_5min", "category"], SPLIT | split)


def test_a_stored_source_is_found_by_its_type() -> None:
    stored = Dataset("moderation.training_data", "1-2", SOURCE_TYPE, source().to_json())
    found = mlflow.data.get_source(stored)
    assert isinstance(found, IcebergDatasetSource)
    assert found.to_dict() == source().to_dict()


def test_a_digest_fits_mlflow_and_names_the_snapshot() -> None:
    digest = source().digest
    assert digest.startswith("9223372036854775807-")
    assert len(digest) <= 36


def test_other_rows_have_another_digest() -> None:
    digests = {source().digest, source(side="testing").digest, source(label_horizon_minutes=240).digest}
    assert len(digests) == 3
    assert source().digest == source().digest


def test_no_text_stands_for_such_a_source() -> None:
    assert not IcebergDatasetSource._can_resolve("moderation.training_data")
