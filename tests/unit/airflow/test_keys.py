"""Keys of Airflow's processes: made once, private, and never one that everybody knows."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.fernet import InvalidToken

from gourmetgram.settings import PROJECT_ROOT

NAMES = ["api_secret_key", "fernet_key", "jwt_secret"]


@pytest.fixture(name="keys")
def keys_fixture(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROJECT_ROOT / "airflow")
    return importlib.import_module("keys")


@pytest.fixture(name="init")
def init_fixture(keys: ModuleType) -> ModuleType:
    return importlib.import_module("init")


@pytest.fixture(autouse=True)
def _generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_the_first_start_makes_every_key_and_the_second_keeps_it(keys: ModuleType, tmp_path: Path) -> None:
    keys.make(tmp_path, {})
    keys.end_rotation(tmp_path)
    made = _content(tmp_path)
    assert list(made) == NAMES
    assert len(set(made.values())) == 3
    assert all(len(text) >= 43 and text == text.strip() for text in made.values())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    keys.make(tmp_path, {"AIRFLOW_FERNET_KEY": "", "AIRFLOW_JWT_SECRET": ""})
    assert _content(tmp_path) == made


def test_two_labs_have_different_keys(keys: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        keys.make(tmp_path / name, {})
    one, two = (set(keys.texts(tmp_path / name)) for name in ("one", "two"))
    assert not one & two


def test_keys_of_a_kubernetes_secret_are_read_and_never_written(keys: ModuleType, tmp_path: Path) -> None:
    # Kubernetes puts the files into a folder of its own, and links to them.
    files = tmp_path / "..2026"
    files.mkdir()
    (tmp_path / "..data").symlink_to(files.name)
    for name in NAMES:
        (files / name).write_text(f"given {name}")
        (tmp_path / name).symlink_to(f"..data/{name}")
    before = {name: (tmp_path / name).readlink() for name in NAMES}
    keys.make(tmp_path, {})
    assert keys.texts(tmp_path) == [f"given {name}" for name in NAMES]
    assert {name: (tmp_path / name).readlink() for name in NAMES} == before


def test_a_published_key_of_an_older_env_file_counts_as_absent(keys: ModuleType, tmp_path: Path) -> None:
    fernet, jwt = sorted(keys.PUBLISHED)
    keys.make(tmp_path, {"AIRFLOW_FERNET_KEY": fernet, "AIRFLOW_JWT_SECRET": jwt})
    keys.end_rotation(tmp_path)
    assert not keys.PUBLISHED & set(keys.texts(tmp_path))


def test_keys_of_the_env_file_take_the_place_of_the_kept_ones(keys: ModuleType, tmp_path: Path) -> None:
    keys.make(tmp_path, {})
    keys.end_rotation(tmp_path)
    before = (tmp_path / "fernet_key").read_text()
    keys.make(tmp_path, {"AIRFLOW_FERNET_KEY": "own", "AIRFLOW_JWT_SECRET": "own jwt"})
    assert (tmp_path / "jwt_secret").read_text() == "own jwt"
    # Rows of the former key are readable until all are encrypted with the new one.
    assert (tmp_path / "fernet_key").read_text() == f"own,{before}"


def test_values_are_encrypted_again_before_an_older_key_is_forgotten(init: ModuleType, tmp_path: Path) -> None:
    init.keys.make(tmp_path, {})
    seen: list[tuple[str, int]] = []
    init.rotate_keys(lambda *words: seen.append((words[0], (tmp_path / "fernet_key").read_text().count(","))), tmp_path)
    init.rotate_keys(lambda *_words: pytest.fail("There is nothing to rotate."), tmp_path)
    assert seen == [("rotate-fernet-key", 1)]
    assert not init.keys.rotation_is_due(tmp_path)


def test_a_crash_during_the_rotation_leaves_both_keys(init: ModuleType, tmp_path: Path) -> None:
    init.keys.make(tmp_path, {})
    before = (tmp_path / "fernet_key").read_text()

    def crash(*_words: str) -> None:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        init.rotate_keys(crash, tmp_path)
    init.keys.make(tmp_path, {})
    assert (tmp_path / "fernet_key").read_text() == before


def test_values_of_an_unknown_key_are_an_error_with_a_remedy(init: ModuleType, tmp_path: Path) -> None:
    init.keys.make(tmp_path, {})

    def rotate(*_words: str) -> None:
        raise InvalidToken

    with pytest.raises(SystemExit, match="AIRFLOW_FERNET_KEY"):
        init.rotate_keys(rotate, tmp_path)
    assert init.keys.rotation_is_due(tmp_path)
