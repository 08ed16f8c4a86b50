"""Models from real scikit-learn in a real object store: loaded whole or not at all, swapped without a pause."""

import hashlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]
import pytest
from sklearn.pipeline import Pipeline

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES
from gourmetgram.models import keys
from gourmetgram.models.artifacts import ARTIFACT_NAMES
from gourmetgram.models.repository import ModelRepository
from gourmetgram.settings import ObjectStoreSettings
from model_training.lifecycle.boosted_trees import tree_ensemble
from model_training.lifecycle.serving import identity_scaler
from risk_scoring_service.model_poller import ModelPoller
from tests.support.boosted_models import fitted, frame, labels
from tests.support.models import Bucket, artifacts, expected_probability, pickled, train
from tests.support.object_logins import as_object_user
from tests.support.scoring import People, Requests, make_request, running_scorer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

ZEROS = [(0.0,) * len(FEATURE_NAMES)]


@pytest.fixture
def bucket(s3_environment: dict[str, str], unique_name: Callable[[str], str]) -> Bucket:
    return Bucket(s3_environment, f"models/{unique_name('moderation')}/")


def scorer_login(bucket: Bucket) -> ObjectStoreSettings:
    """Login of the scorer's user, which reads this folder of models only."""
    return ObjectStoreSettings.load(as_object_user(bucket.variables, "gourmetgram_scorer"))


@pytest.fixture
def poller(bucket: Bucket) -> Iterator[ModelPoller]:
    repository = ModelRepository(scorer_login(bucket), bucket.settings)
    yield ModelPoller(repository, 3_600)
    repository.close()


@pytest.fixture
def model_environment(scorer_environment: dict[str, str], bucket: Bucket) -> dict[str, str]:
    return {
        **scorer_environment,
        **as_object_user(bucket.variables, "gourmetgram_scorer"),
        "INFERENCE_MODE": "model",
        "MODEL_CHECK_INTERVAL": "0.1",
    }


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_model_decides_and_its_row_and_lines_say_so(
    model_environment: dict[str, str],
    bucket: Bucket,
    people: People,
    requests: Requests,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bucket.put(artifacts(version=7))
    request = make_request(people.image(category="Rice"), views_5min=150, views_1hr=150)
    with running_scorer(model_environment) as service:
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
        health = httpx.get(f"http://127.0.0.1:{service.health_port}/health").json()
    probability = expected_probability(42, row["features"])
    assert 0.5 < probability < 1
    assert (row["inference_mode"], row["model_version"]) == ("model", "7")
    assert (row["risk_score"], row["model_score"]) == (probability, probability)
    assert row["rationale"] == f"model probability {probability:g} (version 7)"
    assert health["model"] == {"version": 7, "problem": None}
    assert caplog.messages[caplog.messages.index("Checking MinIO for new model artifacts...") :][:3] == [
        "Checking MinIO for new model artifacts...",
        f"Downloading model from s3://{bucket.name}/{bucket.prefix}",
        "Model loaded successfully (version: 7, trained on 400 rows)",
    ]
    assert (
        f"[MODEL] Image {request.image_id[:8]}... → probability={probability:.2f}, "
        f"recommendation={row['recommendation']} (mode=model, version=7)"
    ) in caplog.messages


def test_boosted_trees_decide_with_the_probability_of_their_pipeline(
    model_environment: dict[str, str], bucket: Bucket, people: People, requests: Requests
) -> None:
    rows = frame(1500)
    pipeline = fitted(rows, labels(rows))
    bucket.put(artifacts(version=3, model=tree_ensemble(pipeline), scaler=identity_scaler()))
    sent = [
        make_request(people.image(category=category), views_5min=views, views_1hr=views)
        for category, views in (("Soup", 4), ("Rice", 2), (None, 1))
    ]
    with running_scorer(model_environment):
        requests.send(*sent)
        found = [wait_until(partial(people.decision, each.request_id)) for each in sent]
    for row, category in zip(found, ("Soup", "Rice", "Unknown"), strict=True):
        inputs = pd.DataFrame([{name: row["features"][name] for name in NUMERIC_FEATURES}], dtype=np.float32)
        inputs = inputs.astype(float).assign(category=category)
        expected = pipeline.predict_proba(inputs)[0, 1]
        assert (row["inference_mode"], row["model_version"]) == ("model", "3")
        assert row["risk_score"] == pytest.approx(expected, abs=1e-6)
        assert row["model_score"] == pytest.approx(expected, abs=1e-6)
    assert len({row["risk_score"] for row in found}) == 3


def test_in_shadow_the_rules_decide_and_the_models_opinion_is_kept(
    model_environment: dict[str, str],
    bucket: Bucket,
    people: People,
    requests: Requests,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bucket.put(artifacts(version=1))
    request = make_request(people.image(), views_5min=150, views_1hr=150)
    with running_scorer({**model_environment, "INFERENCE_MODE": "shadow"}):
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
    probability = expected_probability(42, row["features"])
    assert (row["inference_mode"], row["model_version"], row["model_score"]) == ("shadow", "1", probability)
    assert (row["risk_score"], row["recommendation"]) == (0.2, "SAFE")
    assert row["rationale"] == (f"views: views_5min = 150 (+0.2); shadow model probability {probability:g} (version 1)")
    assert (
        f"[SHADOW] Image {request.image_id[:8]}... → probability=0.20, recommendation=SAFE "
        f"(mode=shadow, version=1, model_probability={probability:.2f})"
    ) in caplog.messages


def test_a_new_version_is_swapped_in_while_requests_flow(
    model_environment: dict[str, str], bucket: Bucket, people: People, requests: Requests
) -> None:
    bucket.put(artifacts(version=1, seed=1))
    image = people.image()

    def decided_by() -> str:
        request = make_request(image, views_5min=120, views_1hr=120)
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
        seed = int(row["model_version"])
        # Never a scaler of one version and a model of another.
        assert row["risk_score"] == expected_probability(seed, row["features"])
        return str(row["model_version"])

    with running_scorer(model_environment):
        assert decided_by() == "1"
        bucket.put(artifacts(version=2, seed=2))
        wait_until(lambda: decided_by() == "2")


def test_a_model_published_after_the_start_ends_the_fallback(
    model_environment: dict[str, str], bucket: Bucket, people: People, requests: Requests
) -> None:
    image = people.image()

    def mode() -> str:
        request = make_request(image)
        requests.send(request)
        return str(wait_until(lambda: people.decision(request.request_id))["inference_mode"])

    with running_scorer(model_environment):
        assert mode() == "heuristic_fallback"
        bucket.put(artifacts())
        wait_until(lambda: mode() == "model")


class Bomb:
    """Unpickling this creates a folder: proof that somebody unpickled it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled_before_every_digest_fits(
    poller: ModelPoller, bucket: Bucket, tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    files = artifacts()
    proof = f"{tmp_path}/unpickled"
    # The model itself fits; its neighbour, read later, does not.
    bomb = pickle.dumps(Bomb(proof))
    bucket.put({**files, "scaler.joblib": bomb})
    poller.look()
    assert poller.model is None
    assert "scaler.joblib is not the file that metadata.json describes" in caplog.text
    assert not os.path.exists(proof)  # noqa: PTH110 - the bomb thinks in strings too
    pickle.loads(bomb)  # noqa: S301 - and it would have gone off
    assert os.path.exists(proof)  # noqa: PTH110


@pytest.mark.parametrize("mode", ["model", "shadow"])
def test_a_foreign_pickle_with_the_right_digests_never_runs(
    model_environment: dict[str, str],
    bucket: Bucket,
    people: People,
    requests: Requests,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    mode: str,
) -> None:
    """The digests stand beside the files: an author of the files writes them, too."""
    caplog.set_level(logging.INFO)
    proof = tmp_path / "ran"
    bucket.put(artifacts(version=1))
    with running_scorer({**model_environment, "INFERENCE_MODE": mode}) as service:
        url = f"http://127.0.0.1:{service.health_port}/health"
        wait_until(lambda: httpx.get(url).status_code == 200, 30.0, "a healthy scorer")
        wait_until(lambda: httpx.get(url).json()["model"]["version"] == 1, what="the first model")
        hidden = np.array([Bomb(str(proof))], dtype=object)
        for version, foreign in enumerate([Bomb(str(proof)), [hidden], Pipeline([("model", Bomb(str(proof)))])], 2):
            bucket.put(artifacts(version, model=foreign))

            def problem(version: int = version) -> httpx.Response | None:
                body = httpx.get(url)
                told = str(body.json()["model"]["problem"])
                return body if "model.joblib cannot be read" in told and _seen(caplog, version) else None

            answer = wait_until(problem, what="the refusal")
            assert answer.status_code == 200
            assert answer.json()["model"]["version"] == 1
            assert "it asks for " in answer.json()["model"]["problem"]
            assert not proof.exists()
        request = make_request(people.image(), views_5min=150, views_1hr=150)
        requests.send(request)
        assert wait_until(lambda: people.decision(request.request_id))["model_version"] == "1"
    assert not proof.exists()


def _seen(caplog: pytest.LogCaptureFixture, version: int) -> bool:
    """Whether the model of this version has been downloaded, after the first one."""
    return sum(message.startswith("Downloading model") for message in caplog.messages) >= version


def test_a_model_that_the_memory_does_not_hold_is_refused_before_it_is_read(
    poller: ModelPoller, bucket: Bucket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit holds for all files together, and a large file is not downloaded."""
    files = artifacts(version=1)
    size = sum(len(files[name]) for name in ARTIFACT_NAMES)
    monkeypatch.setattr("gourmetgram.models.repository.MAX_MODEL_BYTES", size - 1)
    bucket.put(files)
    poller.look()
    assert poller.model is None
    (warning,) = warnings(caplog)
    assert "Train a smaller model" in warning
    monkeypatch.setattr("gourmetgram.models.repository.MAX_MODEL_BYTES", size)
    poller.look()
    assert poller.model is not None


def broken_sets() -> dict[str, dict[str, bytes]]:
    model, scaler, encoder = train()
    good = artifacts(version=2)

    class_two = train()[0].fit(np.zeros((2, 29)), [2, 3])
    return {
        "metadata is no JSON": {**good, "metadata.json": b"{"},
        "metadata lacks a field": {**good, "metadata.json": b'{"version": 2}'},
        "features in another order": artifacts(2, feature_names=FEATURE_NAMES[::-1]),
        "28 features": artifacts(2, feature_names=FEATURE_NAMES[:-1]),
        "a digest is missing": artifacts(2, sha256={}),
        "a folder outside the prefix": artifacts(2, folder="../../"),
        "one file is of another version": {**good, "model.joblib": pickled(train(3)[0])},
        "one file is cut off": {**good, "encoder.joblib": good["encoder.joblib"][:-10]},
        "garbage with the right digest": garbage(),
        "scaler and model exchanged": artifacts(2, model=scaler, scaler=model),
        "model of another width": artifacts(2, model=train()[0].fit(np.zeros((2, 28)), [0, 1])),
        "model of other classes": artifacts(2, model=class_two),
        "encoder of other categories": artifacts(2, encoder=encoder_of([name.upper() for name in CATEGORIES])),
        "encoder in another order": artifacts(2, encoder=encoder_of(list(CATEGORIES[::-1]))),
        "no model but a text": artifacts(2, model="a model"),
        "encoder is a scaler": artifacts(2, encoder=scaler),
        "scaler is an encoder": artifacts(2, scaler=encoder),
    }


def encoder_of(names: list[str]) -> object:
    _, _, encoder = train()
    return type(encoder)(categories=[names], handle_unknown="ignore").fit(np.array([[name] for name in names], object))


def garbage() -> dict[str, bytes]:
    files = artifacts(version=2)
    metadata = orjson.loads(files["metadata.json"])
    files["model.joblib"] = b"\x80garbage"
    metadata["sha256"]["model.joblib"] = hashlib.sha256(files["model.joblib"]).hexdigest()
    return {**files, "metadata.json": orjson.dumps(metadata)}


@pytest.mark.parametrize("name", broken_sets().keys())
def test_a_garbled_partial_or_foreign_model_never_changes_what_is_served(
    poller: ModelPoller, bucket: Bucket, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    bucket.put(artifacts(version=1, seed=1))
    poller.look()
    before = poller.model
    assert before is not None
    bucket.put(broken_sets()[name])
    for _ in range(3):
        poller.look()
    assert poller.model is before
    assert before.probabilities(ZEROS)
    (warning,) = warnings(caplog)
    assert "version 1 stays in use" in warning
    assert poller.status()["problem"]
    # The repaired one is taken, with the same updated_at as the broken one.
    bucket.put(artifacts(version=2, seed=2))
    poller.look()
    assert poller.status() == {"version": 2, "problem": None}


def test_missing_files_are_no_warning(poller: ModelPoller, bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    files = artifacts()
    for name in ("metadata.json", "model.joblib", "scaler.joblib"):
        bucket.put({name: files[name]})
        poller.look()
        assert poller.model is None
    assert warnings(caplog) == []
    # Told once, however often it is tried.
    assert len([message for message in caplog.messages if message.startswith("Downloading")]) == 1
    bucket.put({"encoder.joblib": files["encoder.joblib"]})
    poller.look()
    assert poller.status() == {"version": 1, "problem": None}


def test_a_store_that_is_away_leaves_the_model_in_use(
    bucket: Bucket, poller: ModelPoller, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put(artifacts())
    poller.look()
    served = poller.model
    away = ObjectStoreSettings.load({**bucket.environment, "S3_ENDPOINT_URL": "http://127.0.0.1:1"})
    poller._repository = ModelRepository(away, bucket.settings)
    for _ in range(2):
        poller.look()
    assert poller.model is served
    assert len(warnings(caplog)) == 1


def test_a_poll_that_finds_nothing_new_is_quiet_and_loads_nothing(
    poller: ModelPoller, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bucket.put(artifacts())
    poller.look()
    served, said = poller.model, len(caplog.records)
    poller.look()
    assert poller.model is served
    assert len(caplog.records) == said


def test_artifacts_in_a_folder_of_their_own_are_found(poller: ModelPoller, bucket: Bucket) -> None:
    """A publisher may keep each version apart, so that only the metadata ever changes in place."""
    files = artifacts(version=3, folder="versions/3/")
    metadata = files.pop("metadata.json")
    bucket.put({f"versions/3/{name}": content for name, content in files.items()} | {"metadata.json": metadata})
    poller.look()
    assert poller.status() == {"version": 3, "problem": None}


def of_a_stranger(bucket: Bucket, files: dict[str, bytes]) -> None:
    Bucket(bucket.environment, bucket.prefix, keys=["a-key-of-a-stranger-with-enough-characters"]).put(files)


def unsigned(bucket: Bucket, files: dict[str, bytes]) -> None:
    bucket.put(files, signed=False)


def changed_after_signing(bucket: Bucket, files: dict[str, bytes]) -> None:
    bucket.put(files)
    document = orjson.loads(stored_metadata(bucket))
    bucket.put({"metadata.json": orjson.dumps({**document, "rows_seen": 401})}, signed=False)


def copied_from_another_folder(bucket: Bucket, files: dict[str, bytes]) -> None:
    other = Bucket(bucket.environment, f"{bucket.prefix}versions/2/")
    other.put(files)
    bucket.put({**files, "metadata.json": stored_metadata(other)}, signed=False)


def of_another_model(bucket: Bucket, files: dict[str, bytes]) -> None:
    """Authentic metadata whose artifacts are those of another authentic model."""
    bucket.put({**artifacts(version=3, seed=3), "metadata.json": files["metadata.json"]})


def older(bucket: Bucket, files: dict[str, bytes]) -> None:
    """An authentic model of earlier, put back with all its files."""
    bucket.put(artifacts(version=1, seed=3, updated_at="2026-03-04T00:00:00Z"))


def stored_metadata(bucket: Bucket) -> bytes:
    answer = bucket.client.get_object(Bucket=bucket.name, Key=f"{bucket.prefix}metadata.json")
    content: bytes = answer["Body"].read()
    return content


@pytest.mark.parametrize(
    ("attack", "problem"),
    [
        (unsigned, "has no signature. Publish the model again"),
        (of_a_stranger, "signed with a key that is not known here"),
        (changed_after_signing, "changed after it was signed"),
        (copied_from_another_folder, "signed for another place"),
        (of_another_model, "SHA-256 differs"),
        (older, "older than that of the model in use"),
    ],
)
def test_a_model_that_is_not_authentic_is_never_unpickled_and_the_old_one_stays(
    poller: ModelPoller,
    bucket: Bucket,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    attack: Callable[[Bucket, dict[str, bytes]], None],
    problem: str,
) -> None:
    bucket.put(artifacts(version=1, seed=1))
    poller.look()
    before = poller.model
    assert before is not None
    unpickled: list[bytes] = []
    monkeypatch.setattr("gourmetgram.models.artifacts.load_artifact", unpickled.append)
    attack(bucket, artifacts(version=2, seed=2))
    for _ in range(3):
        poller.look()
    assert (poller.model, unpickled) == (before, [])
    (warning,) = warnings(caplog)
    assert problem in warning
    assert problem in str(poller.status()["problem"])
    monkeypatch.undo()
    bucket.put(artifacts(version=2, seed=2))
    poller.look()
    assert poller.status() == {"version": 2, "problem": None}


@pytest.mark.parametrize("mode", ["model", "shadow"])
def test_the_scorer_tells_in_its_health_why_a_model_is_not_used(
    model_environment: dict[str, str], bucket: Bucket, people: People, requests: Requests, mode: str
) -> None:
    bucket.put(artifacts(), signed=False)
    request = make_request(people.image())
    with running_scorer({**model_environment, "INFERENCE_MODE": mode}) as service:
        requests.send(request)
        row = wait_until(lambda: people.decision(request.request_id))
        url = f"http://127.0.0.1:{service.health_port}/health"
        wait_until(lambda: httpx.get(url).status_code == 200, what="a healthy scorer")
        answer = httpx.get(url)
    assert row["inference_mode"] == "heuristic_fallback"
    assert answer.json()["model"]["version"] is None
    assert "has no signature" in answer.json()["model"]["problem"]


def test_a_model_of_an_older_key_is_served_until_the_key_leaves_the_file(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    keys.create(file)
    settings = bucket.settings.model_copy(update={"model_signing_keys": (), "model_signing_keys_file": file})
    repository = ModelRepository(scorer_login(bucket), settings)
    poller = ModelPoller(repository, 3_600)
    Bucket(bucket.environment, bucket.prefix, keys=keys.read(file)).put(artifacts(version=1))
    keys.rotate(file)
    poller.look()
    assert poller.status() == {"version": 1, "problem": None}
    keys.rotate(file)
    Bucket(bucket.environment, bucket.prefix, keys=keys.read(file)).put(artifacts(version=2))
    file.write_text(f"{keys.read(file)[0]}\n")
    poller.look()
    assert poller.status() == {"version": 2, "problem": None}
    Bucket(bucket.environment, bucket.prefix, keys=["an-old-key-that-has-left-the-file-of-keys"]).put(artifacts(3))
    poller.look()
    assert poller.model is not None
    assert poller.model.version == "2"
    repository.close()
