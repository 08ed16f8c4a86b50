"""The store of published models that a platform's variables name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gourmetgram.models.publishing import ModelPublisher


def publisher_of(variables: Mapping[str, str]) -> "ModelPublisher":
    """Publisher of the model store that a platform's variables name."""
    from gourmetgram.models.publishing import ModelPublisher
    from gourmetgram.models.settings import ModelStoreSettings
    from gourmetgram.settings import ObjectStoreSettings

    return ModelPublisher(ObjectStoreSettings.load(variables), ModelStoreSettings.load(variables))
