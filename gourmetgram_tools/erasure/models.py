"""Models that learned from erased rows. An erasure names them; people decide whether to train and publish anew."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson
from pyiceberg.table import Table

from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.erasure import ErasedIds, holds
from gourmetgram.lakehouse.reading import whole_files
from gourmetgram.models.package import mlflow_origin
from gourmetgram.models.publishing import ModelPublisher, PublishedModel
from gourmetgram.training_data.names import TRAINING_TABLE
from gourmetgram.training_data.table import find_training_table
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.local.ports import listens

PERHAPS: Final = " perhaps: its snapshot of moderation.training_data has expired"


UNKNOWN: Final = "registered models of MLflow were not looked through: it does not answer at {}"


class RegistryReader(Protocol):
    """MLflow's client as it is used here."""

    def search_model_versions(self) -> Iterable[Any]:
        """All versions of all registered models."""

    def get_run(self, run_id: str) -> Any:  # noqa: ANN401 - MLflow's class
        """One run, with its datasets."""


def models_trained_with(platform: Platform, ids: ErasedIds) -> list[str]:
    """Names of published and registered models whose training snapshot has a row of an erased image.

    A model whose snapshot has expired is named with `PERHAPS`.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with open_catalog(platform.iceberg) as catalog:
        table = find_training_table(catalog)
        snapshots = {} if table is None else _snapshots_with(table, ids)
    publisher = ModelPublisher(platform.objects, platform.models)
    try:
        versions = publisher.versions()
    finally:
        publisher.close()
    published = [(_name(each), str(each.metadata.get("snapshot_id"))) for each in versions]
    address = platform.mlflow_address
    place = urlsplit(address)
    if not listens(place.hostname or "localhost", place.port or 80):
        return [*_trained(published, snapshots), UNKNOWN.format(address)]
    return _trained([*published, *registered_snapshots(_client(address))], snapshots)


def registered_snapshots(client: RegistryReader) -> list[tuple[str, str]]:
    """Name of each registered version with each snapshot of moderation.training_data that its run names."""
    found = []
    for version in client.search_model_versions():
        run = client.get_run(version.run_id) if version.run_id else None
        for item in run.inputs.dataset_inputs if run else ():
            source = _json_object(item.dataset.source)
            if source.get("table") == TRAINING_TABLE:
                found.append((f"registered version {version.version} of {version.name}", str(source["snapshot_id"])))
    return list(dict.fromkeys(found))


def _trained(models: Iterable[tuple[str, str]], snapshots: Mapping[str, bool]) -> list[str]:
    """Names of models whose snapshot has an erased row, or is not known any more."""
    known = ((name, snapshots.get(snapshot)) for name, snapshot in models)
    return [name if has_rows else name + PERHAPS for name, has_rows in known if has_rows is not False]


def _client(address: str) -> RegistryReader:
    # Imported here: MLflow takes seconds to import.
    from mlflow import MlflowClient

    from gourmetgram.registry.connection import TrackingSettings, connect, silence_client

    silence_client()
    connect(TrackingSettings(mlflow_tracking_uri=address))
    return MlflowClient()


def _json_object(text: str) -> dict[str, Any]:
    """Document of a dataset's source; empty for the source of another program."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


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
