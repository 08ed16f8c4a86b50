"""Publishing of models: versions in the object store, and the one that the scorer serves.

Each version has its own folder under the prefix, `versions/<n>/`, which is written once and never changed. The version
in use is copied beside `metadata.json`, artifacts first. The metadata, written last, holds the digests of the artifacts
and their folder. So a reader changes from the old model to the new one at one moment. A read in between finds digests
that do not fit, never a mixture. Both metadata files are signed, and every reader checks them (signing.py). Of several
publishers at the same time, the one with the highest version wins: the store replaces the metadata only if it is still
what the publisher has read. Each change of it has a later time than the one before, by which readers know it.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.models.artifacts import (
    ARTIFACT_NAMES,
    METADATA_NAME,
    ServingModel,
    load_model,
    parse_metadata,
)
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.package import ModelPackage, metadata_document, metadata_text
from gourmetgram.models.repository import MissingObjectError, ModelRepository
from gourmetgram.models.signing import SIGNATURE, newest_key, signed, verify
from gourmetgram.moments import parse_utc, utc_text

log = logging.getLogger(__name__)

VERSIONS: Final = "versions/"

_TAKEN: Final = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
# Covers publishers at the same time, and numbers whose publisher died between its first and its last file.
_MAX_ATTEMPTS: Final = 20


class PublishedModel(NamedTuple):
    """A version in the store.

    Attributes:
        version: number of the version.
        active: True for the version in use.
        metadata: content of its metadata.json.
        problem: reason for which its metadata is not authentic; empty when it is.
    """

    version: int
    active: bool
    metadata: dict[str, Any]
    problem: str = ""


class _Pointer(NamedTuple):
    """State of metadata.json beside the model in use.

    Attributes:
        version: version in use; 0 without an authentic one.
        updated_at: its time; None without an authentic one.
        condition: the store's condition that this is still the state.
    """

    version: int
    updated_at: datetime | None
    condition: dict[str, str]

    def time_after(self, moment: datetime) -> str:
        """Time of a change: later than this state even by a clock that went back, as readers refuse an earlier one."""
        return utc_text(moment if self.updated_at is None else max(moment, self.updated_at + timedelta(microseconds=1)))


class ModelPublisher(ModelRepository):
    """Writes the objects under a prefix; see `ModelRepository` for its arguments."""

    def publish(self, package: ModelPackage) -> ModelPackage:
        """Store a model as the next version, and put it in use.

        Returns:
            The model with its new version number and time, as published.

        Raises:
            ArtifactError: the scorer would refuse the model; nothing was written.
            PermanentError: there is no signing key; nothing was written.
            TransientError: the object store is away.
        """
        check_package(package)
        newest_key(self._models.signing_keys())  # without one, stop before the first object
        version = self._claim(package.files[ARTIFACT_NAMES[0]])
        updated_at = self._pointer().time_after(datetime.now(UTC))
        metadata = {**_unsigned(package.metadata), "version": version, "updated_at": updated_at}
        metadata.pop("folder", None)
        folder = folder_of(version)
        for name in ARTIFACT_NAMES[1:]:
            self._write(folder + name, package.files[name])
        self._write_metadata(folder + METADATA_NAME, metadata)
        published = ModelPackage(dict(package.files), metadata)
        self._put_in_use(published, only_newer=True)
        log.info("Version %d is published at %s", version, self.address)
        return published

    def activate(self, version: int) -> PublishedModel:
        """Put a stored version in use.

        Raises:
            MissingObjectError: the version does not exist, or is incomplete.
            ArtifactError: it is not authentic, or its files are damaged.
            TransientError: the object store is away.
        """
        package = self.read_version(version)
        check_package(package)
        metadata = {**_unsigned(package.metadata), "updated_at": utc_text(datetime.now(UTC))}
        self._put_in_use(ModelPackage(package.files, metadata), only_newer=False)
        log.info("Version %d is in use at %s", version, self.address)
        return PublishedModel(version, True, metadata)

    def sign(self, version: int) -> ModelPackage:
        """Sign a stored version with the newest key. The caller answers for the origin of its files.

        Returns:
            The version as signed.

        Raises:
            MissingObjectError: the version does not exist, or is incomplete.
            ArtifactError: the scorer would refuse it.
            PermanentError: there is no signing key.
            TransientError: the object store is away.
        """
        name = folder_of(version) + METADATA_NAME
        package = self._with_files(version, metadata_document(self.read(name), self.address + name))
        check_package(package)
        if package.metadata["version"] != version:
            raise ArtifactError(f"{self.address}{name} is of version {package.metadata['version']}: it was copied here")
        self._write_metadata(name, package.metadata)
        log.info("Version %d at %s is signed", version, self.address)
        return package

    def rollback(self) -> PublishedModel:
        """Put the highest complete version below the one in use into its place.

        Raises:
            PermanentError: no model is in use, or none is older.
            ArtifactError: the older one is not authentic, or its files are damaged.
            TransientError: the object store is away.
        """
        current = self.active_version()
        if current is None:
            raise PermanentError(
                f"No model is in use at {self.address}: choose a version with `gourmetgram models activate`."
            )
        earlier = [found.version for found in self.versions() if found.version < current]
        if not earlier:
            raise PermanentError(
                f"Version {current} is the earliest at {self.address}: there is nothing to go back to."
            )
        return self.activate(max(earlier))

    def versions(self) -> list[PublishedModel]:
        """All complete versions, earliest first."""
        active = self.active_version()
        found = []
        for number in self._numbers():
            try:
                metadata = self.read_metadata(folder_of(number) + METADATA_NAME)
            except MissingObjectError:
                continue  # its publisher is at work, or died
            except ArtifactError as error:
                found.append(PublishedModel(number, number == active, {}, str(error)))
            else:
                found.append(PublishedModel(number, number == active, metadata))
        return found

    def active_version(self) -> int | None:
        """Number of the model in use; None without a usable one."""
        try:
            return self.served_metadata().version
        except MissingObjectError:
            return None
        except ArtifactError as error:
            log.warning("The model at %s counts as absent: %s", self.address, error)
            return None

    def next_version(self) -> int:
        """One more than the highest number that is in use or stored."""
        return max([self.active_version() or 0, *self._numbers()]) + 1

    def read_version(self, version: int) -> ModelPackage:
        """The four files of a stored version.

        Raises:
            MissingObjectError: the version does not exist, or is incomplete.
            ArtifactError: its metadata is not authentic.
            TransientError: the object store is away.
        """
        return self._with_files(version, self.read_metadata(folder_of(version) + METADATA_NAME))

    def read_active(self) -> ModelPackage:
        """The four files of the model in use, as the scorer reads them.

        Raises:
            MissingObjectError: no model is in use.
            ArtifactError: its metadata is not authentic, or cannot be used.
            TransientError: the object store is away.
        """
        document = self.read_metadata()
        folder = parse_metadata(metadata_text(document)).folder
        return ModelPackage(self.read_model(folder), document)

    @property
    def served_keys(self) -> list[str]:
        """The four keys of the model in use, in the order of writing."""
        return [self.prefix + name for name in (*ARTIFACT_NAMES, METADATA_NAME)]

    def _claim(self, content: bytes) -> int:
        """Store the first file of a new version; the store lets only one publisher create it."""
        version = self.next_version()
        for _ in range(_MAX_ATTEMPTS):
            if self._write(folder_of(version) + ARTIFACT_NAMES[0], content, {"IfNoneMatch": "*"}):
                return version
            version += 1
        raise TransientError(f"Other publishers took every new version number at {self.address}: try again later.")

    def _put_in_use(self, package: ModelPackage, *, only_newer: bool) -> None:
        """Point at a version; with `only_newer`, unless another publisher has put a newer one in use meanwhile."""
        version: int = package.metadata["version"]
        for _ in range(_MAX_ATTEMPTS):
            pointer = self._pointer()
            if only_newer and pointer.version > version:
                log.info("Version %d, which is newer, is in use at %s", pointer.version, self.address)
                # An earlier attempt may have written this version's copies over those of the newer one.
                with suppress(MissingObjectError):  # a version that was put there by hand has no folder
                    self._write_copies(self.read_version(pointer.version))
                return
            if self._point_at(package, pointer):
                return
        raise TransientError(f"Other publishers changed the model in use at {self.address} again and again: try later.")

    def _pointer(self) -> _Pointer:
        address = self.address + METADATA_NAME
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + METADATA_NAME)
            text = answer["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return _Pointer(0, None, {"IfNoneMatch": "*"})
        except (ClientError, BotoCoreError) as error:
            raise TransientError(f"{address} could not be read: {error}") from error
        condition = {"IfMatch": answer["ETag"]}
        try:
            document = metadata_document(text, address)
            verify(document, address, self._models.signing_keys())
            metadata = parse_metadata(metadata_text(document))
        except ArtifactError:
            return _Pointer(0, None, condition)
        return _Pointer(metadata.version, metadata.updated_at, condition)

    def _point_at(self, package: ModelPackage, pointer: _Pointer) -> bool:
        """Serve a version. Returns False when the pointer has changed; then the version is not in use."""
        self._write_copies(package)
        metadata = {
            **package.metadata,
            "folder": folder_of(package.metadata["version"]),
            "updated_at": pointer.time_after(parse_utc(package.metadata["updated_at"])),
        }
        return self._write_metadata(METADATA_NAME, metadata, pointer.condition)

    def _write_copies(self, package: ModelPackage) -> None:
        for name in ARTIFACT_NAMES:
            self._write(name, package.files[name])

    def _write_metadata(self, name: str, metadata: Mapping[str, Any], condition: dict[str, str] | None = None) -> bool:
        text = metadata_text(signed(metadata, self.address + name, self._models.signing_keys()))
        return self._write(name, text, condition)

    def _with_files(self, version: int, metadata: dict[str, Any]) -> ModelPackage:
        return ModelPackage(self.read_model(folder_of(version)), metadata)

    def _numbers(self) -> list[int]:
        """The numbers of all version folders, in order."""
        base = self.prefix + VERSIONS
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=base, Delimiter="/"
            )
            names = [
                entry["Prefix"].removeprefix(base).rstrip("/")
                for page in pages
                for entry in page.get("CommonPrefixes", ())
            ]
        except (ClientError, BotoCoreError) as error:
            raise TransientError(f"{self.address}{VERSIONS} could not be listed: {error}") from error
        return sorted(int(name) for name in names if name.isdecimal())

    def _write(self, name: str, content: bytes, condition: dict[str, str] | None = None) -> bool:
        """Write one object. Returns False when the condition does not hold."""
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=self.prefix + name, Body=content, ContentType=kind, **(condition or {})
            )
        except ClientError as error:
            if condition and error.response.get("Error", {}).get("Code") in _TAKEN:
                return False
            raise TransientError(f"{self.address}{name} could not be written: {error}") from error
        except BotoCoreError as error:
            raise TransientError(f"{self.address}{name} could not be written: {error}") from error
        return True


def _unsigned(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != SIGNATURE}


def check_package(package: ModelPackage) -> ServingModel:
    """Load a model as the scorer would.

    Raises:
        ArtifactError: the scorer would refuse it.
    """
    return load_model(parse_metadata(metadata_text(package.metadata)), package.files)


def folder_of(version: int) -> str:
    """Folder of a version, relative to the prefix."""
    return f"{VERSIONS}{version}/"
