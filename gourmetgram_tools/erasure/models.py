"""Models that learned from erased rows. An erasure names them; people decide whether to train and publish anew."""

from typing import Final

from pyiceberg.table import Table

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.erasure import ErasedIds, holds
from gourmetgram.lakehouse.reading import whole_files
from gourmetgram.models.package import mlflow_origin
from gourmetgram.models.publishing import ModelPublisher, PublishedModel
from gourmetgram.training_data.table import find_training_table
from gourmetgram_tools.inspection.platform import Platform

PERHAPS: Final = " perhaps: its snapshot of moderation.training_data has expired"


def models_trained_with(platform: Platform, ids: ErasedIds) -> list[str]:
    """Names of published models whose training snapshot has a row of an erased image.

    A model whose snapshot has expired is named with `PERHAPS`.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with open_catalog(platform.iceberg) as catalog:
        table = find_training_table(catalog)
        snapshots = {} if table is None else _snapshots_with(table, ids)
    publisher = ModelPublisher(platform.objects, platform.models.model_bucket, platform.models.model_prefix)
    try:
        versions = publisher.versions()
    finally:
        publisher.close()
    named = ((_name(each), snapshots.get(str(each.metadata.get("snapshot_id")))) for each in versions)
    return [name if known else name + PERHAPS for name, known in named if known is not False]


def _snapshots_with(table: Table, ids: ErasedIds) -> dict[str, bool]:
    """For each snapshot, whether it has a row of an erased image."""
    found: dict[str, bool] = {}
    files: dict[str, bool] = {}
    for snapshot in table.metadata.snapshots:
        for file in whole_files(table, snapshot_id=snapshot.snapshot_id):
            if file.file_path not in files:
                files[file.file_path] = holds(table, file, ids)
            found[str(snapshot.snapshot_id)] = found.get(str(snapshot.snapshot_id), False) or files[file.file_path]
        found.setdefault(str(snapshot.snapshot_id), False)
    return found


def _name(published: PublishedModel) -> str:
    origin = mlflow_origin(published.metadata)
    registered = f" (version {origin['model_version']} of {origin['model_name']})" if "model_name" in origin else ""
    return f"published version {published.version}{registered}"
