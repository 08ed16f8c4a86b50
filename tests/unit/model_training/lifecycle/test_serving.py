"""The four files of a fitted pipeline: equal probabilities, metadata of its rows, or a refusal."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gourmetgram.models.publishing import check_package
from gourmetgram.training.split import Split
from model_training.lifecycle import serving
from model_training.lifecycle.basic_model import BasicModel
from model_training.lifecycle.boosted_trees import UnservableModelError, tree_ensemble
from model_training.lifecycle.serving import frame_matrix, serving_package
from tests.support.boosted_models import fitted, frame, labels


def model_of(**changes: Any) -> BasicModel:
    """The attributes of a trained basic model that the files are made of."""
    train, test = frame(900), frame(200, seed=3)
    fields = {
        "pipeline": fitted(train, labels(train)),
        "train_set": train,
        "y_train": labels(train),
        "X_test": test,
        "y_test": labels(test),
        "train_data_version": "987654321",
        "choice": SimpleNamespace(minutes=60, split=Split(datetime(2026, 3, 8, tzinfo=UTC), 300, 70)),
    }
    return cast(BasicModel, SimpleNamespace(**{**fields, **changes}))


def test_the_files_serve_the_probabilities_of_the_pipeline() -> None:
    model = model_of()
    package = serving_package(model)
    assert package is not None
    expected = model.pipeline.predict_proba(model.X_test)[:, 1]
    found = check_package(package).predict(frame_matrix(model.X_test))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    metadata = package.metadata
    assert (metadata["algorithm"], metadata["snapshot_id"], metadata["rows_seen"]) == (
        "LGBMClassifier",
        "987654321",
        900,
    )
    assert (metadata["label_horizon_minutes"], metadata["held_out_from"]) == (60, "2026-03-08T00:00:00.000000Z")
    flagged = int(model.y_train.sum())
    assert (metadata["class_balance"]["0"], metadata["class_balance"]["1"]) == (900 - flagged, flagged)
    sizes = {name: metadata["metrics"][name] for name in ("train_images", "held_out_rows", "held_out_images")}
    assert sizes == {"train_images": 300, "held_out_rows": 200, "held_out_images": 70}
    assert metadata["metrics"]["model"]["average_precision"] > metadata["metrics"]["heuristic"]["average_precision"]
    assert "lightgbm" in metadata["library_versions"]


def test_another_project_has_no_files_for_the_scorer() -> None:
    assert serving_package(model_of(choice=None)) is None


def test_trees_that_differ_by_more_than_the_tolerance_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    ensemble = tree_ensemble(model.pipeline)
    state = ensemble.__getstate__()
    leaf = int(np.flatnonzero(state["feature"] == -1)[0])
    state["value"] = state["value"].copy()
    state["value"][leaf] += 1e-6
    ensemble.__setstate__(state)
    monkeypatch.setattr(serving, "tree_ensemble", lambda _pipeline: ensemble)
    with pytest.raises(UnservableModelError, match="other probabilities than the pipeline on the held-out rows"):
        serving_package(model)
