"""Place of the published models, and the keys that sign them."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from gourmetgram.models import keys as key_files
from gourmetgram.settings import CommaSeparated, Settings


def _folder(prefix: str) -> str:
    """Prefix with a slash at its end, which may be missing in the setting."""
    return f"{prefix.strip('/')}/"


def _long_enough(keys: tuple[str, ...]) -> tuple[str, ...]:
    if any(len(key) < key_files.SHORTEST for key in keys):
        raise ValueError(f"a key has at least {key_files.SHORTEST} characters")
    return keys


class ModelStoreSettings(Settings):
    """The folder of the object store that the scorer serves from, and the keys that sign the models in it."""

    model_bucket: str = "gourmetgram-datalake"
    model_prefix: Annotated[str, AfterValidator(_folder)] = "models/moderation/"

    model_signing_keys: Annotated[CommaSeparated, AfterValidator(_long_enough)] = ()
    """Keys of the signatures, the newest first: it signs, and all of them verify. Empty = those of the file."""

    model_signing_keys_file: Path | None = None
    """File of the keys, one per line. It is read at each use, so that a new key needs no restart."""

    def signing_keys(self) -> tuple[bytes, ...]:
        """The keys, the newest first; none without a setting or a file.

        Raises:
            PermanentError: the file cannot be read, or has a key that is too short.
        """
        keys = self.model_signing_keys
        if not keys and self.model_signing_keys_file is not None:
            keys = key_files.read(self.model_signing_keys_file)
        return tuple(key.encode() for key in keys)
