"""Task `commit_checkpoint`: the Airflow Variable that shows the progress of the aggregation to people."""

from datetime import UTC, datetime
from typing import Any, Final

from gourmetgram.errors import PermanentError
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.progress import events_progress
from gourmetgram.lakehouse.schemas import EVENTS, ensure_tables
from gourmetgram.moments import utc_text
from gourmetgram.settings import IcebergSettings

VARIABLE: Final = "redpanda_event_aggregation_checkpoint"


def checkpoint_document(settings: IcebergSettings) -> dict[str, Any]:
    """Content of the Variable: a copy of the newest snapshot's progress, for people only; no program decides by it.

    Returns:
        `{"version", "offsets": {topic: {partition: next offset}}, "updated_at", "last_run_id", "bootstrap"}`; keys and
        values have JSON types.

    Raises:
        TransientError: the catalog is away.
        PermanentError: no run has aggregated anything yet.
    """
    with open_catalog(settings) as catalog, named_outages("the checkpoint could not be read"):
        ensure_tables(catalog)
        progress = events_progress(catalog.load_table(EVENTS))
    if progress is None:
        raise PermanentError("there is no checkpoint yet: run consume_and_aggregate_events first")
    return {
        "version": 1,
        "offsets": {
            topic: {str(partition): offset for partition, offset in sorted(partitions.items())}
            for topic, partitions in sorted(progress.offsets.items())
        },
        "updated_at": utc_text(datetime.now(UTC)),
        "last_run_id": progress.run_id,
        "bootstrap": "earliest",
    }
