"""From a registered model to the served one: resolve, download, check, compare, publish, tag."""

import logging
from typing import Any, Final, NamedTuple

from mlflow import MlflowClient
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError
from gourmetgram.models.errors import ArtifactError
from gourmetgram.models.package import ModelPackage, mlflow_origin
from gourmetgram.models.publishing import ModelPublisher, check_package
from gourmetgram.models.repository import MissingObjectError
from gourmetgram.registry.client import RegisteredModel, download_serving, resolve, tag_version
from gourmetgram.registry.gate import GateDecision, better_on_later_images

log = logging.getLogger(__name__)

PUBLISHED_VERSION: Final = "gourmetgram.published_version"
PUBLISHED_AT: Final = "gourmetgram.published_at"
FORCED: Final = "gourmetgram.publish_forced"
"""Tags of a registered version."""


class Publication(NamedTuple):
    """Result of an attempt to publish a registered model.

    Attributes:
        registered: the registered version.
        published: True when it is served now.
        decision: decision of the gate; None when the model was served before already.
        package: the four files as published; as downloaded when not published.
        served_before: version that was in use before; None without one.
    """

    registered: RegisteredModel
    published: bool
    decision: GateDecision | None
    package: ModelPackage
    served_before: int | None

    @property
    def version(self) -> int | None:
        """Version under which the scorer serves the model; None when it was not published."""
        return int(self.package.metadata["version"]) if self.published else None

    def document(self) -> dict[str, Any]:
        """Document for reports."""
        return {
            "mlflow": self.registered.document,
            "published": self.published,
            "version": self.version,
            "served_before": self.served_before,
            "gate": None if self.decision is None else self.decision.document(),
            "forced": self.package.metadata.get("forced"),
        }


def publish_registered(
    client: MlflowClient, publisher: ModelPublisher, catalog: Catalog, uri: str, force: str | None = None
) -> Publication:
    """Publish a registered model if it is better than the served one.

    A run that was killed between publishing and tagging is repeated safely: the model of the same MLflow run is in use
    then, and only the tags are written.

    Args:
        client: client of the registry.
        publisher: the store that the scorer serves from.
        catalog: the Iceberg catalog, for the later images.
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        force: reason to publish a model that is not better; None = such a model is not published.

    Raises:
        PermanentError: the address names nothing, the model has no files for the scorer, the scorer would refuse it, or
            the reason is empty.
        TransientError: MLflow, the catalog or the object store is away.
    """
    if force is not None and not force.strip():
        raise PermanentError("Give the reason for publishing a model that is not better: it is kept with the model.")
    registered = resolve(client, uri)
    candidate = download_serving(client, registered)
    try:
        check_package(candidate)
    except ArtifactError as error:
        raise PermanentError(f"The scorer would refuse {registered}: {error}.") from error
    served = _active(publisher)
    before = None if served is None else int(served.metadata["version"])
    if served is not None and mlflow_origin(served.metadata).get("run_id") == registered.run_id:
        log.info("Version %d is of this run already: only the tags of %s are written", before, registered)
        _tag(client, registered, served)
        return Publication(registered, True, None, served, before)
    decision = better_on_later_images(catalog, candidate, served)
    if not decision.passed and force is None:
        log.info("%s is not published: %s", registered, decision.reason)
        return Publication(registered, False, decision, candidate, before)
    published = publisher.publish(_with_lineage(candidate, registered, decision, force))
    _tag(client, registered, published)
    return Publication(registered, True, decision, published, before)


def _active(publisher: ModelPublisher) -> ModelPackage | None:
    """The model in use; None without a usable one, for which the rules decide."""
    try:
        return publisher.read_active()
    except MissingObjectError:
        return None
    except ArtifactError as error:
        log.warning("The model at %s counts as absent: %s", publisher.address, error)
        return None


def _with_lineage(
    package: ModelPackage, registered: RegisteredModel, decision: GateDecision, force: str | None
) -> ModelPackage:
    forced = {} if decision.passed or force is None else {"forced": force.strip()}
    lineage = {"mlflow": registered.document, "gate": decision.document(), **forced}
    return ModelPackage(package.files, {**package.metadata, **lineage})


def _tag(client: MlflowClient, registered: RegisteredModel, package: ModelPackage) -> None:
    tags = {PUBLISHED_VERSION: str(package.metadata["version"]), PUBLISHED_AT: str(package.metadata["updated_at"])}
    if "forced" in package.metadata:
        tags[FORCED] = str(package.metadata["forced"])
    tag_version(client, registered, tags)
