"""The job that makes the signing key of the Compose lab."""

import stat
from pathlib import Path

import pytest

from gourmetgram.models import keys
from setup_jobs.model_keys import main


@pytest.fixture(name="file")
def file_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the keys, which does not exist yet."""
    file = tmp_path / "signing"
    monkeypatch.setenv("MODEL_SIGNING_KEYS_FILE", str(file))
    monkeypatch.delenv("MODEL_SIGNING_KEYS", raising=False)
    return file


def test_the_job_makes_one_key_that_the_users_of_other_containers_can_read(file: Path) -> None:
    assert main([]) == 0
    made = keys.read(file)
    assert main([]) == 0
    assert keys.read(file) == made
    assert len(made) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o444


def test_rotate_adds_a_key_in_front(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    (first,) = keys.read(file)
    assert main(["rotate"]) == 0
    assert keys.read(file)[1:] == (first,)
    assert all(key not in "".join(capsys.readouterr()) for key in keys.read(file))


def test_own_keys_in_the_setting_make_no_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEYS", "k" * 40)
    assert main([]) == 0
    assert not file.exists()


def test_failures_have_codes_and_sentences(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["delete"]) == 2
    monkeypatch.setenv("MODEL_SIGNING_KEYS_FILE", str(file / "nowhere" / "keys"))
    assert main([]) == 1
    monkeypatch.setenv("MODEL_SIGNING_KEYS", "short")
    assert main([]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "The only argument" in said[0]
    assert "cannot be written" in said[1]
    assert "MODEL_SIGNING_KEYS" in said[2]
