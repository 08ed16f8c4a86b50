"""PyIceberg's access to the object store, with as few requests as possible."""

from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from threading import Lock
from typing import Final

from cachetools import LRUCache
from pyarrow.fs import FileSystem, S3FileSystem
from pyiceberg.io import (
    S3_ACCESS_KEY_ID,
    S3_CONNECT_TIMEOUT,
    S3_ENDPOINT,
    S3_FORCE_VIRTUAL_ADDRESSING,
    S3_REGION,
    S3_REQUEST_TIMEOUT,
    S3_SECRET_ACCESS_KEY,
    S3_SESSION_TOKEN,
    InputStream,
)
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.utils.properties import property_as_bool

CA_FILE: Final = "gourmetgram.s3.ca-file"
"""Property of the catalog: PEM file of the authorities to trust; empty = those of the operating system."""

_KEPT_BYTES: Final = 32 * 1024 * 1024
# Metadata, lists of manifests, manifests: each has a unique name, and its content never changes.
_UNCHANGING: Final = (".metadata.json", ".avro")


class LakeFileIO(PyArrowFileIO):
    """PyIceberg's own file access, for an S3 store that is described by `catalog_properties`.

    It avoids three costs of PyIceberg's version. That one uploads every file in parts: three requests, where a small
    file needs one. It opens new connections for each loaded table. It reads the same few metadata files five to ten
    times a run.
    """

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        return _connect(
            endpoint_override=self.properties[S3_ENDPOINT],
            # Without keys, Arrow asks its chain of providers. A REST catalog may lend keys with a session token.
            access_key=self.properties.get(S3_ACCESS_KEY_ID),
            secret_key=self.properties.get(S3_SECRET_ACCESS_KEY),
            session_token=self.properties.get(S3_SESSION_TOKEN),
            force_virtual_addressing=property_as_bool(self.properties, S3_FORCE_VIRTUAL_ADDRESSING, False),
            tls_ca_file_path=self.properties.get(CA_FILE) or None,
            region=self.properties[S3_REGION],
            connect_timeout=float(self.properties[S3_CONNECT_TIMEOUT]),
            request_timeout=float(self.properties[S3_REQUEST_TIMEOUT]),
        )

    def new_input(self, location: str) -> PyArrowFile:
        """A file to read; metadata is read once per process."""
        file = super().new_input(location)
        if not location.endswith(_UNCHANGING):
            return file
        return _UnchangingFile(self.properties[S3_ENDPOINT], location, file._path, file._filesystem)


@lru_cache(maxsize=4)
def _connect(**options: str | float | None) -> S3FileSystem:
    """Share one thread-safe file system among all tables of a process."""
    return S3FileSystem(allow_delayed_open=True, **options)


class _UnchangingFile(PyArrowFile):
    """A file whose content is kept in memory among the most recently used ones.

    Args:
        endpoint: URL of the store that holds it.
        location: see `PyArrowFile`, as for `path` and `fs`.
    """

    def __init__(self, endpoint: str, location: str, path: str, fs: FileSystem) -> None:
        super().__init__(location, path, fs)
        self._key = endpoint, location

    def open(self, seekable: bool = True) -> InputStream:
        """Open the file, like `PyArrowFile.open`."""
        with _kept_lock:
            content = _kept.get(self._key)
        if content is None:
            with super().open(seekable) as stream:
                content = stream.read()
            # A content larger than the whole memory for contents is not kept.
            with _kept_lock, suppress(ValueError):
                _kept[self._key] = content
        return BytesIO(content)


_kept: Final[LRUCache[tuple[str, str], bytes]] = LRUCache(_KEPT_BYTES, getsizeof=len)
_kept_lock: Final = Lock()
