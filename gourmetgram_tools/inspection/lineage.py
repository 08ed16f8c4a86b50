"""Origin of the models that decided about an image: version, registered name, MLflow run, snapshot, rows."""

from collections.abc import Iterable
from dataclasses import dataclass

from gourmetgram.models.artifacts import METADATA_NAME
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.package import mlflow_origin
from gourmetgram.models.publishing import ModelPublisher, folder_of
from gourmetgram.models.repository import MissingObjectError
from gourmetgram.registry.address import page_address
from gourmetgram_tools.inspection.platform import Platform
from gourmetgram_tools.inspection.rows import DecisionRow


@dataclass(frozen=True)
class ModelLineage:
    """Origin of one published version.

    Attributes:
        model_version: version, as in the rows of decisions.
        found: False when the store has no authentic version of this number (any more); all else is None then.
        algorithm: name of the learning algorithm.
        snapshot_id: Iceberg snapshot of moderation.training_data.
        rows: training rows.
        held_out_from: upload time of the first held-out image.
        registered_name: name in MLflow's registry; None for a model that did not come from there, likewise the others.
        registered_version: its version there.
        run_id: the MLflow run.
        run_page: address of the run's page.
        forced: reason for publishing a model that was not better; None without one.
    """

    model_version: str
    found: bool
    algorithm: str | None = None
    snapshot_id: str | None = None
    rows: int | None = None
    held_out_from: str | None = None
    registered_name: str | None = None
    registered_version: str | None = None
    run_id: str | None = None
    run_page: str | None = None
    forced: str | None = None


def read_lineage(platform: Platform, decisions: Iterable[DecisionRow]) -> list[ModelLineage]:
    """Origin of each model version that the decisions name, in the order of the versions.

    Raises:
        TransientError: the object store is away.
    """
    versions = sorted({row.model_version for row in decisions if row.model_version}, key=_in_order)
    if not versions:
        return []
    publisher = ModelPublisher(platform.objects, platform.models)
    try:
        return [_lineage(publisher, version, platform.mlflow_address) for version in versions]
    finally:
        publisher.close()


def _lineage(publisher: ModelPublisher, version: str, mlflow_address: str) -> ModelLineage:
    if not version.isdecimal():
        return ModelLineage(version, found=False)
    name = folder_of(int(version)) + METADATA_NAME
    try:
        metadata = publisher.read_metadata(name)
    except (MissingObjectError, ArtifactError):
        return ModelLineage(version, found=False)
    lineage = mlflow_origin(metadata)
    run, experiment = lineage.get("run_id"), lineage.get("experiment_id")
    page = page_address(mlflow_address, run, experiment) if run and experiment else None
    return ModelLineage(
        model_version=version,
        found=True,
        algorithm=metadata.get("algorithm"),
        snapshot_id=metadata.get("snapshot_id"),
        rows=metadata.get("rows_seen"),
        held_out_from=metadata.get("held_out_from"),
        registered_name=lineage.get("model_name"),
        registered_version=lineage.get("model_version"),
        run_id=run,
        run_page=page,
        forced=metadata.get("forced"),
    )


def _in_order(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else 0, version)
