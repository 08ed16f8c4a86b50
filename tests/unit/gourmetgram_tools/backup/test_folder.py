"""A folder is a backup once its manifest is written; a file that changed since is refused by name."""

from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram_tools.backup.folder import MANIFEST, BackupFolder, BackupManifest


def _write(path: Path) -> BackupFolder:
    """An unfinished backup with two files."""
    folder = BackupFolder.create(path)
    folder.redis.write_bytes(b"keys")
    folder.database("application").write_bytes(b"rows")
    return folder


def _finish(folder: BackupFolder) -> BackupManifest:
    manifest = BackupManifest(
        platform_version="1",
        point="2026-01-31T12:00:00Z",
        revision="0001",
        databases=("application",),
        partitions=(),
        groups=(),
        keys=1,
        objects=0,
        missing_pictures=(),
        files=folder.digests(lambda _name: None),
    )
    folder.finish(manifest)
    return manifest


def _verify(path: Path) -> BackupManifest:
    return BackupFolder(path).verify(lambda _name: None)


def test_a_finished_backup_is_accepted(tmp_path: Path) -> None:
    manifest = _finish(_write(tmp_path / "one"))
    assert _verify(tmp_path / "one") == manifest
    assert set(manifest.files) == {"redis.parquet", "application.dump"}
    assert manifest.size == 8


def test_only_its_owner_can_read_a_backup(tmp_path: Path) -> None:
    _write(tmp_path / "one")
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0


def test_an_interrupted_backup_is_none(tmp_path: Path) -> None:
    _write(tmp_path / "one")
    with pytest.raises(PermanentError, match=f"has no {MANIFEST}, so it is no finished backup: it was interrupted"):
        _verify(tmp_path / "one")


@pytest.mark.parametrize("content", [b"Rows", b"row", b"rows and more"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    folder = _write(tmp_path / "one")
    _finish(folder)
    folder.database("application").write_bytes(content)
    with pytest.raises(PermanentError, match=r"application\.dump is damaged"):
        _verify(tmp_path / "one")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    folder = _write(tmp_path / "one")
    _finish(folder)
    folder.redis.unlink()
    with pytest.raises(PermanentError, match=r"redis\.parquet is missing"):
        _verify(tmp_path / "one")


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    _finish(_write(tmp_path / "one"))
    (tmp_path / "one" / MANIFEST).write_text('{"format": 2}')
    with pytest.raises(PermanentError, match=f"{MANIFEST} is damaged, or newer than this code"):
        _verify(tmp_path / "one")


def test_no_backup_is_overwritten(tmp_path: Path) -> None:
    _finish(_write(tmp_path / "one"))
    with pytest.raises(PermanentError, match="is not empty: name a new folder"):
        BackupFolder.create(tmp_path / "one")
