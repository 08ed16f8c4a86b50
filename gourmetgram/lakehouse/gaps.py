"""Acceptance of a gap: records of one partition are lost, and the aggregation goes on behind them.

Without it, the only way on would be to drop the tables of all topics, with history that the broker no longer holds.
"""

import logging
from contextlib import closing
from datetime import UTC, datetime
from typing import NamedTuple

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, held_ranges
from gourmetgram.lakehouse.aggregation import Sources
from gourmetgram.lakehouse.broker import create_reader, known_topic_ids
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.commits import append_files
from gourmetgram.lakehouse.continuity import rewritten
from gourmetgram.lakehouse.outages import named_outages
from gourmetgram.lakehouse.progress import EventsProgress, Gap, events_progress
from gourmetgram.lakehouse.schemas import EVENTS, open_table
from gourmetgram.moments import utc_text

log = logging.getLogger(__name__)


class AcceptedGap(NamedTuple):
    """Result of an acceptance.

    Attributes:
        gap: the recorded gap.
        snapshot_id: the snapshot of `events` that records it.
    """

    gap: Gap
    snapshot_id: int


def accept_gap(sources: Sources, partition: Partition) -> AcceptedGap:
    """Record that records of a partition are lost, and move its next offset behind them.

    The commit adds no row. The next run goes on at the new offset.

    Args:
        sources: servers of the aggregation.
        partition: the partition that a run has refused.

    Raises:
        PermanentError: the partition has no gap, is not known, or its topic was created again.
        TransientError: a server is away, or a run committed at the same time: try again.
    """
    with open_catalog(sources.iceberg) as catalog, named_outages("the gap could not be recorded"):
        table = open_table(catalog, EVENTS)
        before = events_progress(table)
        if before is None or partition.number not in before.offsets.get(partition.topic, {}):
            raise PermanentError(f"{partition}: no run has read it, so it has no gap.")
        gap = _gap_of(sources, partition, before)
        offsets = {topic: dict(partitions) for topic, partitions in before.offsets.items()}
        offsets[partition.topic][partition.number] = gap.end
        marks = {topic: dict(partitions) for topic, partitions in before.last_records.items()}
        marks.get(partition.topic, {}).pop(partition.number, None)
        after = before._replace(offsets=offsets, last_records=marks, gaps=(*before.gaps, gap))
        snapshot_id = append_files(table, [], after.summary(), {})
    log.warning("The gap %s of %s is recorded in snapshot %d", OffsetRange(gap.start, gap.end), partition, snapshot_id)
    return AcceptedGap(gap, snapshot_id)


def _gap_of(sources: Sources, partition: Partition, before: EventsProgress) -> Gap:
    """The lost offsets of a partition: from its next offset to the first that can be read again."""
    topic, stored = partition.topic, before.offsets[partition.topic][partition.number]
    ids = known_topic_ids(sources.kafka, [topic])
    if topic in ids and before.topic_ids.get(topic, ids[topic]) != ids[topic]:
        raise PermanentError(
            f"topic {topic} was deleted and created again: its offsets begin anew, so this is no gap of one partition. "
            "Drop the tables of event_aggregations; the next run rebuilds them from the records in the broker."
        )
    with closing(create_reader(sources.kafka)) as consumer:
        held = {each: item for each, item in held_ranges(consumer, [topic]).items() if each == partition}
        if partition not in held:
            raise PermanentError(f"{partition}: the broker does not have this partition.")
        item = held[partition]
        changed = rewritten(consumer, before.offsets, before.last_records, held)
    if item.start <= stored <= item.end and not changed:
        raise PermanentError(f"{partition}: the next offset {stored} can be read, so there is no gap to accept.")
    return Gap(topic, partition.number, stored, max(item.start, min(stored, item.end)), utc_text(datetime.now(UTC)))
