"""Snapshots that stay: those that a model names, and the event history that a training snapshot was made from.

| Table | Tag | Snapshot |
|---|---|---|
| moderation.training_data | `model-<version>` | rows of a published model |
| moderation.training_data | `trained-<time of the extract>` | rows of one of the newest trainings, published or not |
| event_aggregations.events | `training-data-<time of the extract>` | history that a load of training rows has used |

All other snapshots of the training table expire like those of the event tables.
"""

import logging
from collections.abc import Mapping
from typing import Final

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from gourmetgram.errors import PlatformError
from gourmetgram.lakehouse.maintenance import MaintenancePolicy, maintain
from gourmetgram.lakehouse.progress import summary_of
from gourmetgram.lakehouse.schemas import EVENTS
from gourmetgram.lakehouse.tags import set_tags, tags_of
from gourmetgram.moments import parse_utc
from gourmetgram.training_data.names import EVENTS_SNAPSHOT_ID, EXTRACTED_AT, TRAINING_TABLE

log = logging.getLogger(__name__)

MODEL_TAG: Final = "model-"
TRAINED_TAG: Final = "trained-"
EVENTS_TAG: Final = "training-data-"

MAX_TRAINED: Final = 30
"""Newest trainings whose snapshots stay."""


def keep_history(catalog: Catalog, summary: Mapping[str, str]) -> None:
    """Tag the snapshot of `events` that a load uses, before the load is committed.

    Args:
        catalog: the Iceberg catalog.
        summary: properties of the load.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    if summary[EVENTS_SNAPSHOT_ID]:
        name = EVENTS_TAG + tag_time(summary[EXTRACTED_AT])
        set_tags(catalog.load_table(EVENTS), {name: int(summary[EVENTS_SNAPSHOT_ID])})


def keep_trained(table: Table, snapshot: Snapshot) -> None:
    """Tag the snapshot that a training uses; a failure is logged, and the training goes on.

    Args:
        table: moderation.training_data.
        snapshot: one of its snapshots.
    """
    extracted_at = summary_of(snapshot).get(EXTRACTED_AT)
    if extracted_at is None:
        return
    name = TRAINED_TAG + tag_time(extracted_at)
    trained = tags_of(table, TRAINED_TAG) | {name: snapshot.snapshot_id}
    newest = sorted(trained.keys() - {name}, reverse=True)[: MAX_TRAINED - 1]
    try:
        set_tags(table, {each: trained[each] for each in (name, *newest)}, TRAINED_TAG)
    except PlatformError as error:
        log.warning("The snapshot of this training was not tagged, so it may expire: %s", error)


def maintain_training_data(
    catalog: Catalog, models: Mapping[int, int], policy: MaintenancePolicy | None = None
) -> None:
    """Tag the snapshots that models name, drop the tags of models that are gone, and expire the others.

    Args:
        catalog: the Iceberg catalog.
        models: snapshot of the training table by version of the published model; all of them.
        policy: bounds of the table.

    Raises:
        TransientError: the catalog or the object store is away, or another writer changed a table.
    """
    table = catalog.load_table(TRAINING_TABLE)
    set_tags(table, {f"{MODEL_TAG}{version}": snapshot_id for version, snapshot_id in models.items()}, MODEL_TAG)
    maintain(table, policy)
    _keep_histories(catalog, table)


def _keep_histories(catalog: Catalog, table: Table) -> None:
    """Drop the tags of histories whose training rows have expired."""
    table.refresh()
    loads = {
        EVENTS_TAG + tag_time(summary[EXTRACTED_AT]): int(summary[EVENTS_SNAPSHOT_ID])
        for summary in map(summary_of, table.metadata.snapshots)
        if summary.get(EXTRACTED_AT) and summary.get(EVENTS_SNAPSHOT_ID)
    }
    if not loads:
        return
    events = catalog.load_table(EVENTS)
    # A load that runs now has tagged its history, and has not committed its rows yet.
    running = {name: each for name, each in tags_of(events, EVENTS_TAG).items() if name > max(loads)}
    set_tags(events, loads | running, EVENTS_TAG)


def tag_time(extracted_at: str) -> str:
    """Time of an extract as part of a tag's name, such as `20260517T120000.000000Z`; names sort by time."""
    return f"{parse_utc(extracted_at):%Y%m%dT%H%M%S.%f}Z"
