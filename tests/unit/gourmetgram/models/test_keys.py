"""Files of signing keys: made once, readable by their owner only, the newest key first."""

import stat
from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError, SettingsError
from gourmetgram.models import keys
from gourmetgram.models.settings import ModelStoreSettings


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert keys.create(file)
    made = keys.read(file)
    assert not keys.create(file)
    assert keys.read(file) == made
    assert [len(key) for key in made] == [43]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_two_keys_are_equal(tmp_path: Path) -> None:
    for name in "ab":
        keys.create(tmp_path / name)
    assert keys.read(tmp_path / "a") != keys.read(tmp_path / "b")


def test_a_new_key_comes_first_and_the_older_ones_stay(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys.create(file)
    (first,) = keys.read(file)
    keys.rotate(file, 0o444)
    newest, older = keys.read(file)
    assert (older, newest != first) == (first, True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    keys.rotate(file)
    assert keys.read(file)[1:] == (newest, older)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    assert keys.read(tmp_path / "absent") == ()
    short = tmp_path / "short"
    short.write_text("secret\n")
    with pytest.raises(PermanentError, match="short has less than 32 characters"):
        keys.read(short)
    with pytest.raises(PermanentError, match="cannot be read"):
        keys.read(tmp_path)
    with pytest.raises(PermanentError, match="cannot be written"):
        keys.create(tmp_path / "nowhere" / "keys")


def test_settings_name_the_keys_or_their_file_which_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    from_file = ModelStoreSettings.load({"MODEL_SIGNING_KEYS_FILE": str(file)})
    assert from_file.signing_keys() == ()
    keys.create(file)
    assert from_file.signing_keys() == tuple(key.encode() for key in keys.read(file))
    both = ModelStoreSettings.load(
        {"MODEL_SIGNING_KEYS": f"{'a' * 32}, {'b' * 32}", "MODEL_SIGNING_KEYS_FILE": str(file)}
    )
    assert both.signing_keys() == (b"a" * 32, b"b" * 32)
    assert ModelStoreSettings.load({}).signing_keys() == ()


def test_a_short_key_in_a_setting_stops_the_start_without_showing_it() -> None:
    with pytest.raises(SettingsError, match=r"MODEL_SIGNING_KEYS: .* at least 32 characters") as refusal:
        ModelStoreSettings.load({"MODEL_SIGNING_KEYS": "hunter2"})
    assert "hunter2" not in str(refusal.value)
