"""The lakehouse's part: events, windows, training rows, and the files of the last training run."""

from datetime import UTC, datetime
from typing import Final

from gourmetgram.kafka.partitions import Partition
from gourmetgram.lakehouse.aggregation import Sources, aggregate_events
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.erasure import ErasedIds, ErasedRows, erase_rows, remaining_files
from gourmetgram.lakehouse.progress import events_progress
from gourmetgram.lakehouse.schemas import DEFINITIONS, EVENTS, WINDOWED_KINDS
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.moments import utc_text
from gourmetgram.settings import IcebergSettings
from gourmetgram.training_data.extract import RAW_FILES
from gourmetgram.training_data.lake import Lake
from gourmetgram.training_data.names import ERASED_AT, ROWS_KEPT, TRAINING_TABLE
from gourmetgram.training_data.table import DEFINITION, find_training_table
from gourmetgram.training_data.transform import PROCESSED_FILE

_FILES: Final = (*RAW_FILES, PROCESSED_FILE)


def aggregate(sources: Sources) -> dict[Partition, int]:
    """Aggregate all events that the broker holds, so that no history is lost with its records.

    Returns:
        Next offset of each partition that the lakehouse has not read.

    Raises:
        TransientError: a server is away, or a run of the DAG committed first: run again.
        PermanentError: the records cannot be aggregated; the text names the remedy.
    """
    offsets = aggregate_events(sources, "erasure").offsets
    for kind in WINDOWED_KINDS:
        write_windows(sources.iceberg, kind)
    return {Partition(topic, number): offset for topic, parts in offsets.items() for number, offset in parts.items()}


def erase_tables(settings: IcebergSettings, ids: ErasedIds) -> dict[str, ErasedRows]:
    """Erase ids from every table, its snapshots and its folder, and delete the files of the last training run.

    Raises:
        TransientError: a server is away, or other writers committed first: run again.
    """
    # First, so that a run which loads them from here on is refused (see ERASED_AT).
    erased_at = utc_text(datetime.now(UTC))
    results = {}
    with open_catalog(settings) as catalog:
        for name, definition in DEFINITIONS.items():
            results[name] = erase_rows(catalog, name, definition, ids)
        if find_training_table(catalog) is not None:
            results[TRAINING_TABLE] = erase_rows(
                catalog, TRAINING_TABLE, DEFINITION, ids, ROWS_KEPT, {ERASED_AT: erased_at}
            )
    Lake(settings).remove(_FILES)
    return results


def read_to(settings: IcebergSettings) -> dict[Partition, int]:
    """Next offset of each partition in the lakehouse."""
    with open_catalog(settings) as catalog:
        progress = events_progress(catalog.load_table(EVENTS))
    offsets = progress.offsets if progress else {}
    return {Partition(topic, number): offset for topic, parts in offsets.items() for number, offset in parts.items()}


def remaining_in_tables(settings: IcebergSettings, ids: ErasedIds) -> list[str]:
    """Files of the tables, and of the last training run, that hold an erased id.

    Raises:
        TransientError: the catalog or the object store is away.
    """
    with open_catalog(settings) as catalog:
        tables = [catalog.load_table(name) for name in DEFINITIONS]
        training = find_training_table(catalog)
        tables += [] if training is None else [training]
        return [f"file {path}" for table in tables for path in remaining_files(table, ids)]
