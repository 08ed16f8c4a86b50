"""Continuation after a restore: the topics have new ids, but the same records at the same offsets."""

import logging
from contextlib import closing

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.broker import create_reader, known_topic_ids
from gourmetgram.lakehouse.catalog import open_catalog, table_versions
from gourmetgram.lakehouse.commits import append_files
from gourmetgram.lakehouse.continuity import rewritten
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.progress import EventsProgress, events_progress
from gourmetgram.lakehouse.schemas import EVENTS, open_table

log = logging.getLogger(__name__)

_AGAIN = "Restore topics and tables from one backup, into empty stores."


def continue_on_restored_topics(sources: Sources) -> int | None:
    """Record the new ids of the topics, so that the next run reads on at the stored offsets.

    The commit adds no row. The record before each offset is compared with its fingerprint first.

    Args:
        sources: servers of the aggregation.

    Returns:
        The snapshot of `events` that records it; None when no run has read anything yet.

    Raises:
        PermanentError: the broker does not hold the records that were read, or holds others.
        TransientError: a server is away: try again.
    """
    if EVENTS not in table_versions(sources.iceberg):
        return None
    with open_catalog(sources.iceberg) as catalog, named_outages("the restored topics could not be recorded"):
        table = open_table(catalog, EVENTS)
        before = events_progress(table)
        if before is None:
            return None
        _refuse_other_records(sources, before)
        ids = {**before.topic_ids, **known_topic_ids(sources.kafka, before.offsets)}
        snapshot_id = append_files(table, [], before._replace(topic_ids=ids).summary(), {})
    log.info("Snapshot %d records the ids of the restored topics", snapshot_id)
    return snapshot_id


def _refuse_other_records(sources: Sources, before: EventsProgress) -> None:
    with closing(create_reader(sources.kafka)) as consumer:
        held = held_ranges(consumer, before.offsets)
        for partition, item in held.items():
            offset = before.offsets[partition.topic].get(partition.number, 0)
            if offset > item.end:
                raise PermanentError(
                    f"{partition}: the broker does not hold record {offset - 1}, the last one that was read. {_AGAIN}"
                )
        changed = rewritten(consumer, before.offsets, before.last_records, held)
    if changed:
        raise PermanentError(f"{changed[0]}: the last record that was read is not the one in the broker. {_AGAIN}")
