"""Publishing of models: versions in the object store, and the one that the scorer serves.

Each version has its own folder under the prefix, `versions/<n>/`, which is written once and never changed. The version
in use is copied beside `metadata.json`, artifacts first. The metadata, written last, holds the digests of the artifacts
and their folder. So a reader changes from the old model to the new one at one moment. A read in between finds digests
that do not fit, never a mixture. Of several publishers at the same time, the one with the highest version wins: the
store replaces the metadata only if it is still what the publisher has read.
"""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.models.artifacts import (
    ARTIFACT_NAMES,
    METADATA_NAME,
    ArtifactError,
    ServingModel,
    load_model,
    parse_metadata,
)
from gourmetgram.models.package import ModelPackage, metadata_document, metadata_text
from gourmetgram.models.repository import MissingObjectError, ModelRepository
from gourmetgram.moments import utc_text

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
    """

    version: int
    active: bool
    metadata: dict[str, Any]


class ModelPublisher(ModelRepository):
    """Writes the objects under a prefix; see `ModelRepository` for its arguments."""

    def publish(self, package: ModelPackage) -> ModelPackage:
        """Store a model as the next version, and put it in use.

        Returns:
            The model with its new version number and time, as published.

        Raises:
            ArtifactError: the scorer would refuse the model; nothing was written.
            TransientError: the object store is away.
        """
        check_package(package)
        version = self._claim(package.files[ARTIFACT_NAMES[0]])
        metadata = {**package.metadata, "version": version, "updated_at": utc_text(datetime.now(UTC))}
        metadata.pop("folder", None)
        folder = folder_of(version)
        for name in ARTIFACT_NAMES[1:]:
            self._write(folder + name, package.files[name])
        self._write(folder + METADATA_NAME, metadata_text(metadata))
        published = ModelPackage(dict(package.files), metadata)
        self._put_in_use(published)
        log.info("Version %d is published at %s", version, self.address)
        return published

    def activate(self, version: int) -> PublishedModel:
        """Put a stored version in use.

        Raises:
            MissingObjectError: the version does not exist, or is incomplete.
            ArtifactError: its files are damaged.
            TransientError: the object store is away.
        """
        package = self.read_version(version)
        check_package(package)
        metadata = {**package.metadata, "updated_at": utc_text(datetime.now(UTC))}
        self._point_at(ModelPackage(package.files, metadata))
        log.info("Version %d is in use at %s", version, self.address)
        return PublishedModel(version, True, metadata)

    def rollback(self) -> PublishedModel:
        """Put the highest complete version below the one in use into its place.

        Raises:
            PermanentError: no model is in use, or none is older.
            TransientError: the object store is away.
        """
        current = self.active_version()
        if current is None:
            raise PermanentError(f"No model is in use at {self.address}: there is nothing to go back from.")
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
                text = self.read(folder_of(number) + METADATA_NAME)
            except MissingObjectError:
                continue  # its publisher is at work, or died
            metadata = metadata_document(text, f"{self.address}{folder_of(number)}{METADATA_NAME}")
            found.append(PublishedModel(number, number == active, metadata))
        return found

    def active_version(self) -> int | None:
        """Number of the model in use; None without a usable one."""
        try:
            return parse_metadata(self.read(METADATA_NAME)).version
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
            TransientError: the object store is away.
        """
        folder = folder_of(version)
        text = self.read(folder + METADATA_NAME)
        files = self.read_model(folder)
        return ModelPackage(files, metadata_document(text, f"{self.address}{folder}{METADATA_NAME}"))

    def read_active(self) -> ModelPackage:
        """The four files of the model in use, as the scorer reads them.

        Raises:
            MissingObjectError: no model is in use.
            ArtifactError: its metadata cannot be used.
            TransientError: the object store is away.
        """
        text = self.read(METADATA_NAME)
        folder = parse_metadata(text).folder
        files = self.read_model(folder)
        return ModelPackage(files, metadata_document(text, self.address + METADATA_NAME))

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

    def _put_in_use(self, package: ModelPackage) -> None:
        """Point at a new version, unless another publisher has put a newer one in use meanwhile."""
        version: int = package.metadata["version"]
        for _ in range(_MAX_ATTEMPTS):
            served, condition = self._pointer()
            if served > version:
                log.info("Version %d, which is newer, is in use at %s", served, self.address)
                # An earlier attempt may have written this version's copies over those of the newer one.
                with suppress(MissingObjectError):  # a version that was put there by hand has no folder
                    self._write_copies(self.read_version(served))
                return
            if self._point_at(package, condition):
                return
        raise TransientError(f"Other publishers changed the model in use at {self.address} again and again: try later.")

    def _pointer(self) -> tuple[int, dict[str, str]]:
        """The version in use (0 without a usable one), and the store's condition that it is still in use."""
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + METADATA_NAME)
            text = answer["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return 0, {"IfNoneMatch": "*"}
        except (ClientError, BotoCoreError) as error:
            raise TransientError(f"{self.address}{METADATA_NAME} could not be read: {error}") from error
        condition = {"IfMatch": answer["ETag"]}
        try:
            return parse_metadata(text).version, condition
        except ArtifactError:
            return 0, condition

    def _point_at(self, package: ModelPackage, condition: dict[str, str] | None = None) -> bool:
        """Serve a version. Returns False when the condition does not hold; then the version is not in use."""
        self._write_copies(package)
        metadata = {**package.metadata, "folder": folder_of(package.metadata["version"])}
        return self._write(METADATA_NAME, metadata_text(metadata), condition)

    def _write_copies(self, package: ModelPackage) -> None:
        for name in ARTIFACT_NAMES:
            self._write(name, package.files[name])

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


def check_package(package: ModelPackage) -> ServingModel:
    """Load a model as the scorer would.

    Raises:
        ArtifactError: the scorer would refuse it.
    """
    return load_model(parse_metadata(metadata_text(package.metadata)), package.files)


def folder_of(version: int) -> str:
    """Folder of a version, relative to the prefix."""
    return f"{VERSIONS}{version}/"
