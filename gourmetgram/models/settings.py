"""Place of the published models."""

from typing import Annotated

from pydantic import AfterValidator

from gourmetgram.settings import Settings


def _folder(prefix: str) -> str:
    """Prefix with a slash at its end, which may be missing in the setting."""
    return f"{prefix.strip('/')}/"


class ModelStoreSettings(Settings):
    """The folder of the object store that the scorer serves from."""

    model_bucket: str = "gourmetgram-datalake"
    model_prefix: Annotated[str, AfterValidator(_folder)] = "models/moderation/"
