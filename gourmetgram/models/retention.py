"""Maintenance of the training table, which keeps the snapshots that published models name."""

import logging

from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError, PlatformError
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram.training_data.retention import maintain_training_data

log = logging.getLogger(__name__)


def maintain_training_data_quietly(
    catalog: Catalog, objects: ObjectStoreSettings, store: ModelStoreSettings | None = None
) -> None:
    """Expire snapshots of the training table that no model names; a failure is logged, and the next load tries again.

    Args:
        catalog: the Iceberg catalog.
        objects: the object store of the published models.
        store: their place in it; None = that of the environment.
    """
    try:
        maintain_training_data(catalog, snapshots_of_models(objects, store or ModelStoreSettings.load()))
    except PlatformError as error:
        log.warning("%s was not maintained this time: %s", TRAINING_TABLE, error)


def snapshots_of_models(objects: ObjectStoreSettings, store: ModelStoreSettings) -> dict[int, int]:
    """Snapshot of moderation.training_data by version, for all published models that name one.

    Raises:
        PermanentError: the metadata of a version is no JSON object, or is not authentic.
        TransientError: the object store is away.
    """
    publisher = ModelPublisher(objects, store)
    try:
        models = publisher.versions()
    finally:
        publisher.close()
    for model in models:
        if model.problem:
            # Its snapshot is not known, and must not expire as that of no model.
            raise PermanentError(f"version {model.version} of the model: {model.problem}")
    named = {model.version: str(model.metadata.get("snapshot_id", "")) for model in models}
    return {version: int(snapshot_id) for version, snapshot_id in named.items() if snapshot_id.isdecimal()}
