"""Versions in the object store: written once, pointed at last, never mixed."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import orjson
import pytest

from gourmetgram.errors import PermanentError
from gourmetgram.models.artifacts import ARTIFACT_NAMES, METADATA_NAME, ModelMetadata, load_model, parse_metadata
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.repository import MissingObjectError
from gourmetgram.models.retention import snapshots_of_models
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.settings import ObjectStoreSettings
from risk_scoring_service.model_poller import ModelPoller
from tests.support.models import artifacts

pytestmark = pytest.mark.servers


def package(seed: int = 42, **changes: Any) -> ModelPackage:
    files = artifacts(seed=seed, **changes)
    metadata = orjson.loads(files.pop("metadata.json"))
    return ModelPackage(files, metadata)


def served(publisher: ModelPublisher) -> ModelMetadata:
    """The model that a reader takes who knows only the four keys of the contract."""
    metadata = publisher.served_metadata()
    load_model(metadata, {name: publisher.read(name) for name in ARTIFACT_NAMES})
    return metadata


def test_versions_count_up_and_the_last_one_is_served(publisher: ModelPublisher) -> None:
    first, second = publisher.publish(package(1)), publisher.publish(package(2))
    assert (first.metadata["version"], second.metadata["version"]) == (1, 2)
    assert second.metadata["updated_at"] > first.metadata["updated_at"]
    assert served(publisher).version == 2
    assert [(found.version, found.active) for found in publisher.versions()] == [(1, False), (2, True)]
    assert publisher.read_active().files == second.files


def test_a_version_after_one_that_was_put_there_by_hand_is_the_next(publisher: ModelPublisher) -> None:
    by_hand = package(1)
    for name, content in by_hand.files.items():
        publisher._write(name, content)
    publisher._write_metadata("metadata.json", {**by_hand.metadata, "version": 6})
    assert publisher.publish(package(2)).metadata["version"] == 7


def test_rollback_and_activate_point_at_stored_versions(publisher: ModelPublisher) -> None:
    models = [publisher.publish(package(seed)) for seed in (1, 2, 3)]
    assert publisher.rollback().version == 2
    assert publisher.read_active().files == models[1].files
    assert publisher.rollback().version == 1
    with pytest.raises(PermanentError, match="Version 1 is the earliest"):
        publisher.rollback()
    publisher.activate(3)
    assert served(publisher).version == 3
    assert served(publisher).updated_at > parse_metadata(orjson.dumps(models[2].metadata)).updated_at


def test_a_new_version_after_a_rollback_replaces_no_older_one(publisher: ModelPublisher) -> None:
    publisher.publish(package(1))
    second = publisher.publish(package(2))
    publisher.rollback()
    assert publisher.publish(package(3)).metadata["version"] == 3
    assert publisher.read_version(2).files == second.files


def test_a_model_that_the_scorer_would_refuse_is_not_published(publisher: ModelPublisher) -> None:
    good = package(1)
    damaged = {**good.files, "model.joblib": good.files["model.joblib"][:-1]}
    with pytest.raises(ArtifactError, match=r"model\.joblib is not the file"):
        publisher.publish(ModelPackage(damaged, good.metadata))
    with pytest.raises(ArtifactError, match="other features"):
        publisher.publish(package(1, feature_names=["a feature"]))
    assert publisher.versions() == []
    assert publisher.active_version() is None


def test_an_unknown_or_damaged_version_is_not_activated(publisher: ModelPublisher) -> None:
    publisher.publish(package(1))
    publisher.publish(package(2))
    publisher._write("versions/1/scaler.joblib", b"something else")
    with pytest.raises(ArtifactError):
        publisher.rollback()
    with pytest.raises(MissingObjectError):
        publisher.activate(9)
    assert served(publisher).version == 2


def test_two_publishers_at_once_get_versions_of_their_own(
    publisher: ModelPublisher, lake_environment: dict[str, str]
) -> None:
    settings, models = ObjectStoreSettings.load(lake_environment), ModelStoreSettings.load(lake_environment)
    others = [ModelPublisher(settings, models) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda pair: pair[1].publish(package(pair[0])), enumerate(others)))
    assert sorted(each.metadata["version"] for each in done) == [1, 2, 3, 4]
    for each in done:
        assert publisher.read_version(each.metadata["version"]).files == each.files
    for other in others:
        other.close()


class DiedError(Exception):
    pass


@pytest.mark.parametrize("at", [*ARTIFACT_NAMES, METADATA_NAME])
def test_a_publisher_that_is_overtaken_leaves_the_newer_version_in_use(
    at: str, publisher: ModelPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer: list[ModelPackage] = []
    write = ModelPublisher._write

    def overtaken(self: ModelPublisher, name: str, *arguments: Any) -> bool:
        if name == at and not newer:
            newer.append(package(2))
            newer[0] = publisher.publish(newer[0])
        return write(self, name, *arguments)

    monkeypatch.setattr(ModelPublisher, "_write", overtaken)
    older = publisher.publish(package(1))
    assert (older.metadata["version"], newer[0].metadata["version"]) == (1, 2)
    assert served(publisher).version == 2
    assert publisher.read_active().files == newer[0].files


@pytest.mark.parametrize("step", range(8))
def test_a_publisher_that_dies_leaves_the_old_model_or_the_new_one(
    publisher: ModelPublisher, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    publisher.publish(package(1))
    write, steps = publisher._write, iter(range(100))

    def dying(name: str, content: bytes, *options: Any) -> bool:
        if next(steps) == step:
            raise DiedError
        return write(name, content, *options)

    monkeypatch.setattr(publisher, "_write", dying)
    with pytest.raises(DiedError):
        publisher.publish(package(2))
    monkeypatch.undo()
    found = publisher.read_active()
    assert found.metadata["version"] == 1
    for name, content in found.files.items():
        assert hashlib.sha256(content).hexdigest() == found.metadata["sha256"][name]
    # Who knows only the four keys finds digests that do not fit, or the old model, never a mixture.
    try:
        assert served(publisher).version == 1
    except ArtifactError as error:
        assert "SHA-256 differs" in str(error)
    assert publisher.publish(package(3)).metadata["version"] in {2, 3}
    assert served(publisher).version == publisher.active_version()


def without_signature(publisher: ModelPublisher, name: str) -> None:
    document = publisher.read_metadata(name)
    document.pop("signature")
    publisher._write(name, orjson.dumps(document))


def test_a_stored_version_that_is_not_authentic_is_shown_and_never_served(publisher: ModelPublisher) -> None:
    publisher.publish(package(1))
    publisher.publish(package(2))
    without_signature(publisher, "versions/1/metadata.json")
    first, second = publisher.versions()
    assert (first.version, first.active, first.metadata) == (1, False, {})
    assert "has no signature" in first.problem
    assert (second.active, second.problem) == (True, "")
    for attempt in (publisher.rollback, lambda: publisher.activate(1), lambda: publisher.read_version(1)):
        with pytest.raises(ArtifactError, match=r"has no signature\. .* `gourmetgram models sign 1`"):
            attempt()
    assert served(publisher).version == 2


def test_a_copy_of_a_version_in_another_folder_is_refused(publisher: ModelPublisher) -> None:
    publisher.publish(package(1))
    publisher.publish(package(2))
    for name in ("metadata.json", *ARTIFACT_NAMES):
        publisher._write(f"versions/2/{name}", publisher.read(f"versions/1/{name}"))
    with pytest.raises(ArtifactError, match="signed for another place"):
        publisher.activate(2)
    with pytest.raises(ArtifactError, match="is of version 1: it was copied here"):
        publisher.sign(2)


def test_a_model_of_the_time_before_signatures_is_served_after_it_was_signed(publisher: ModelPublisher) -> None:
    publisher.publish(package(1))
    without_signature(publisher, "versions/1/metadata.json")
    without_signature(publisher, "metadata.json")
    with pytest.raises(ArtifactError, match="has no signature"):
        publisher.read_active()
    assert publisher.active_version() is None
    with pytest.raises(PermanentError, match="choose a version with `gourmetgram models activate`"):
        publisher.rollback()
    publisher.sign(1)
    publisher.activate(1)
    assert served(publisher).version == 1
    assert publisher.publish(package(2)).metadata["version"] == 2


def test_a_damaged_model_is_not_signed(publisher: ModelPublisher) -> None:
    publisher.publish(package(1))
    publisher._write("versions/1/scaler.joblib", b"something else")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        publisher.sign(1)


def test_without_a_key_nothing_is_published(publisher: ModelPublisher, lake_environment: dict[str, str]) -> None:
    models = ModelStoreSettings.load({**lake_environment, "MODEL_SIGNING_KEYS_FILE": ""})
    keyless = ModelPublisher(ObjectStoreSettings.load(lake_environment), models)
    with pytest.raises(PermanentError, match="no signing key is set"):
        keyless.publish(package(1))
    assert publisher._numbers() == []
    keyless.close()


def test_a_change_is_later_than_the_one_before_whatever_the_clock_says(publisher: ModelPublisher) -> None:
    publisher.publish(package(1))
    late = {**publisher.read_metadata(), "updated_at": "2999-01-01T00:00:00.000000Z"}
    publisher._write_metadata("metadata.json", late)
    assert publisher.publish(package(2)).metadata["updated_at"] == "2999-01-01T00:00:00.000001Z"


def test_a_newer_version_that_is_put_in_use_after_an_older_one_is_taken_by_a_running_scorer(
    publisher: ModelPublisher, lake_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = ModelPoller(publisher, 1.0)
    settings, models = ObjectStoreSettings.load(lake_environment), ModelStoreSettings.load(lake_environment)
    # Version 1 takes its number, then version 2; version 1 is put in use, and then version 2.
    first, second = ModelPublisher(settings, models), ModelPublisher(settings, models)
    claim, point = first._claim, second._point_at

    def point_late(*arguments: Any) -> bool:
        monkeypatch.setattr(second, "_point_at", point)
        claimed.set()
        published.wait(10)
        poller.look()
        return point(*arguments)

    def claim_early(content: bytes) -> int:
        version = claim(content)
        started.set()
        claimed.wait(10)
        return version

    started, claimed, published = (Event() for _ in range(3))
    monkeypatch.setattr(first, "_claim", claim_early)
    monkeypatch.setattr(second, "_point_at", point_late)
    with ThreadPoolExecutor(1) as pool:
        older = pool.submit(first.publish, package(1))
        older.add_done_callback(lambda _: published.set())
        started.wait(10)
        newer = second.publish(package(2))
    poller.look()
    assert (older.result().metadata["version"], newer.metadata["version"]) == (1, 2)
    assert poller.status() == {"version": 2, "problem": None}
    first.close()
    second.close()


def test_a_version_that_a_person_chooses_while_another_is_published_is_taken_by_a_running_scorer(
    publisher: ModelPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = ModelPoller(publisher, 1.0)
    publisher.publish(package(1))
    copies = publisher._write_copies

    def overtaken(chosen: ModelPackage) -> None:
        monkeypatch.setattr(publisher, "_write_copies", copies)
        publisher.publish(package(2))
        poller.look()
        copies(chosen)

    monkeypatch.setattr(publisher, "_write_copies", overtaken)
    publisher.activate(1)
    poller.look()
    assert poller.status() == {"version": 1, "problem": None}


def test_no_snapshot_is_free_while_a_model_is_not_authentic(
    publisher: ModelPublisher, lake_environment: dict[str, str]
) -> None:
    objects = ObjectStoreSettings.load(lake_environment)
    publisher.publish(package(1, snapshot_id="17"))
    assert snapshots_of_models(objects, publisher._models) == {1: 17}
    without_signature(publisher, "versions/1/metadata.json")
    with pytest.raises(PermanentError, match=r"version 1 of the model: .* has no signature"):
        snapshots_of_models(objects, publisher._models)
