"""Registrations at the same time, and one that fails half-way."""

import threading

import pytest
from mlflow import MlflowClient

from gourmetgram.errors import PermanentError
from model_training.lifecycle import registration
from model_training.lifecycle.basic_model import MODEL_NAME
from model_training.lifecycle.marvel import write_marvel_tables
from model_training.lifecycle.registration import ALIAS, aliased_version, register_version
from tests.support.lifecycle_platform import LifecyclePlatform

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def address(lifecycle: LifecyclePlatform) -> str:
    """Address of a logged model."""
    write_marvel_tables(lifecycle.catalog)
    return f"runs:/{lifecycle.logged(lifecycle.config('marvel')).run_id}/{MODEL_NAME}"


def alias_of(client: MlflowClient, name: str) -> int:
    return int(client.get_model_version_by_alias(name, ALIAS).version)


def test_registrations_at_once_all_count_and_the_alias_is_on_the_last(
    lifecycle: LifecyclePlatform, address: str
) -> None:
    name, together = f"{lifecycle.name}.at_once", 4
    barrier, made = threading.Barrier(together), []

    def register(number: int) -> None:
        barrier.wait()
        made.append(register_version(address, name, {"git_sha": str(number)}))

    threads = [threading.Thread(target=register, args=(number,)) for number in range(together)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == ["1", "2", "3", "4"]
    assert lifecycle.versions(name) == [1, 2, 3, 4]
    assert alias_of(lifecycle.client, name) == 4


def test_no_version_stays_when_the_alias_fails(
    lifecycle: LifecyclePlatform, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{lifecycle.name}.half"
    # MLflow refuses this alias: it is a word of its own.
    monkeypatch.setattr(registration, "ALIAS", "latest")
    with pytest.raises(PermanentError, match=f"Version 1 of {name} did not get the alias latest"):
        register_version(address, name, {})
    assert lifecycle.versions(name) == []


def test_a_model_that_does_not_exist_is_not_registered(lifecycle: LifecyclePlatform) -> None:
    name = f"{lifecycle.name}.absent"
    with pytest.raises(PermanentError, match=f"{name} could not be registered: MLflow refused"):
        register_version(f"runs:/{'0' * 32}/{MODEL_NAME}", name, {})
    assert lifecycle.versions(name) == []
    assert aliased_version(name) is None


def test_a_name_that_does_not_exist_has_no_alias(lifecycle: LifecyclePlatform) -> None:
    assert aliased_version(f"{lifecycle.name}.never") is None
