"""The folder of a backup: files of the stores, and a manifest that is written last."""

import hashlib
import os
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram_tools.local.progress import StepReport

MANIFEST: Final = "manifest.json"
_UNFINISHED: Final = "manifest.json.new"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileDigest(_Frozen):
    """Size in bytes and SHA-256 (hexadecimal) of one file."""

    size: int
    sha256: str


class PartitionOffsets(_Frozen):
    """Offsets of one partition: `start` (included) to `end` (excluded)."""

    topic: str
    number: int
    start: int
    end: int

    @property
    def partition(self) -> Partition:
        """The partition."""
        return Partition(self.topic, self.number)

    @property
    def span(self) -> OffsetRange:
        """Its range of offsets."""
        return OffsetRange(self.start, self.end)


class GroupOffset(_Frozen):
    """Committed offset of a consumer group in one partition."""

    group: str
    topic: str
    number: int
    offset: int


class BackupManifest(_Frozen):
    """Content of manifest.json.

    Attributes:
        format: version of this layout.
        platform_version: version of the code that made the backup.
        point: ISO-8601 time, UTC, by PostgreSQL's clock: each write that was acknowledged before is in the backup.
        revision: revision of the application's schema.
        databases: names of the dumped databases.
        partitions: ranges of the records.
        groups: committed offsets of the consumer and the scorer.
        keys: number of Redis keys.
        objects: number of objects in all archives.
        missing_pictures: pictures of images that the object store did not have.
        files: digest of each file, by its path in the folder.
    """

    format: Literal[1] = 1
    platform_version: str
    point: str
    revision: str
    databases: tuple[str, ...]
    partitions: tuple[PartitionOffsets, ...]
    groups: tuple[GroupOffset, ...]
    keys: int
    objects: int
    missing_pictures: tuple[str, ...]
    files: dict[str, FileDigest]

    @property
    def records(self) -> int:
        """Number of records in all topics."""
        return sum(item.span.records for item in self.partitions)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(digest.size for digest in self.files.values())


class BackupFolder:
    """Paths of one backup. Reading a path creates nothing.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.redis = path / "redis.parquet"
        self.pictures = path / "pictures.tar"
        self.lake = path / "lake.tar"
        self.datalake = path / "datalake.tar"

    @classmethod
    def create(cls, path: Path) -> Self:
        """Create the folder, readable by its owner only.

        Raises:
            PermanentError: the folder exists and has content.
        """
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(path.iterdir()):
            raise PermanentError(f"{path} is not empty: name a new folder, so that no other backup is overwritten.")
        (path / "kafka").mkdir()
        return cls(path)

    def database(self, name: str) -> Path:
        """Dump of a database."""
        return self.path / f"{name}.dump"

    def records(self, partition: Partition) -> Path:
        """Records of a partition."""
        return self.path / "kafka" / f"{partition.topic}-{partition.number}.parquet"

    def digests(self, report: StepReport) -> dict[str, FileDigest]:
        """Digest of each file; all files are on the disk (fsync) when this returns."""
        found = {}
        for file in sorted(each for each in self.path.rglob("*") if each.is_file()):
            name = file.relative_to(self.path).as_posix()
            report(name)
            _sync(file)
            found[name] = _digest(file)
        for folder in (self.path / "kafka", self.path):
            _sync(folder)
        return found

    def finish(self, manifest: BackupManifest) -> None:
        """Write the manifest, all or nothing: only now the folder is a backup."""
        fresh = self.path / _UNFINISHED
        fresh.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _sync(fresh)
        fresh.replace(self.path / MANIFEST)
        _sync(self.path)

    def manifest(self) -> BackupManifest:
        """Read the manifest.

        Raises:
            PermanentError: there is none, or it is not readable.
        """
        try:
            return BackupManifest.model_validate_json((self.path / MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise PermanentError(
                f"{self.path} has no {MANIFEST}, so it is no finished backup: it was interrupted, or it is another "
                "folder. Use another backup."
            ) from None
        except ValidationError as error:
            raise PermanentError(
                f"{self.path / MANIFEST} is damaged, or newer than this code. Use another backup. "
                f"({error.error_count()} errors, first: {error.errors()[0]['msg']})"
            ) from None

    def verify(self, report: StepReport) -> BackupManifest:
        """Compare each file with its digest in the manifest.

        Raises:
            PermanentError: a file is missing or damaged; the text names it.
        """
        manifest = self.manifest()
        for name, expected in manifest.files.items():
            report(name)
            file = self.path / name
            if not file.is_file():
                raise PermanentError(f"{file} is missing. The backup cannot be used: use another one.")
            if file.stat().st_size != expected.size or _digest(file) != expected:
                raise PermanentError(
                    f"{file} is damaged: its content is not the one of the backup. Use another backup, or bring the "
                    "file back from a copy."
                )
        return manifest


def _digest(file: Path) -> FileDigest:
    with file.open("rb") as stream:
        return FileDigest(size=file.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest())


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
