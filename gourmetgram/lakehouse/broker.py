"""The range of a run: the offsets to read, checked against the last run and against the broker."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from confluent_kafka import Consumer, Message
from confluent_kafka.admin import AdminClient

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.clients import MAKE_TOPICS, client_config
from gourmetgram.kafka.metadata import topic_ids
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import ANSWER_S, OffsetRange, RecordsGoneError, create_range_reader, read_ranges
from gourmetgram.lakehouse.continuity import rewritten
from gourmetgram.lakehouse.progress import EventsProgress, Offsets
from gourmetgram.settings import KafkaSettings

CLIENT_ID: Final = "gourmetgram-aggregation"

GROUP: Final = "airflow_event_aggregator"
"""Group name shown to people: a run assigns its partitions itself and never commits an offset."""

_NOTHING_READ: Final = "Nothing was read, so nothing is skipped unnoticed. Bring the topic's old data back, or"
_START_OVER: Final = (
    f"{_NOTHING_READ} drop the tables of event_aggregations; the next run then rebuilds them from the records in the "
    "broker."
)


def _accept(partition: Partition) -> str:
    """Remedies for records of one partition that are gone."""
    return f"{_NOTHING_READ} accept the gap with `gourmetgram lake accept-gap {partition.topic} {partition.number}`."


def create_reader(settings: KafkaSettings) -> Consumer:
    """Create the consumer of one run."""
    return create_range_reader(settings, CLIENT_ID, GROUP)


def known_topic_ids(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, str]:
    """The broker's id of each topic; topics without an id are left out.

    Raises:
        TransientError: the broker is away.
    """
    ids = topic_ids(AdminClient(client_config(settings, CLIENT_ID)), topics, ANSWER_S)
    return {topic: topic_id for topic, topic_id in ids.items() if topic_id is not None}


def plan_ranges(
    held: Mapping[Partition, OffsetRange],
    topics: Iterable[str],
    progress: EventsProgress | None,
    ids: Mapping[str, str],
) -> dict[Partition, OffsetRange]:
    """Ranges from the last run's offsets to the ends that the broker holds, without a gap.

    Args:
        held: offsets that the broker holds, frozen for this run.
        topics: the topics to read.
        progress: offsets of earlier runs; None before the first.
        ids: the broker's ids of the topics, as far as known.

    Raises:
        PermanentError: a topic is missing, was created again, or lost unread records.
    """
    ranges = {}
    for topic in topics:
        of_topic = {partition: item for partition, item in held.items() if partition.topic == topic}
        if not of_topic:
            raise PermanentError(f"topic {topic} does not exist: create the topics with {MAKE_TOPICS}, then run again")
        stored = progress.offsets.get(topic, {}) if progress else {}
        if progress is not None:
            _refuse_other_topic(topic, progress.topic_ids.get(topic), ids.get(topic), stored)
        _refuse_fewer_partitions(topic, stored, of_topic)
        for partition, available in of_topic.items():
            start = stored.get(partition.number, available.start)
            _refuse_gap(partition, start, available)
            ranges[partition] = OffsetRange(start, available.end)
    return ranges


def read_planned(consumer: Consumer, ranges: Mapping[Partition, OffsetRange]) -> Iterator[list[Message]]:
    """Read exactly the records of the ranges, in batches (see `read_ranges`).

    Raises:
        PermanentError: the broker no longer has a record of a range.
        TransientError: the broker went away.
    """
    try:
        yield from read_ranges(consumer, ranges)
    except RecordsGoneError as error:
        raise PermanentError(f"{error}. {_START_OVER}") from error


def refuse_rewritten(
    consumer: Consumer, held: Mapping[Partition, OffsetRange], progress: EventsProgress | None
) -> None:
    """Refuse a partition whose log was cut and filled again past the stored offset.

    Raises:
        PermanentError: the text names the partition and the remedies.
        TransientError: the broker went away.
    """
    if progress is None:
        return
    for partition in rewritten(consumer, progress.offsets, progress.last_records, held):
        offset = progress.offsets[partition.topic][partition.number]
        raise PermanentError(
            f"{partition}: record {offset - 1} is not the one that was read there: the broker lost the end of its log, "
            f"and new records took the offsets. {_accept(partition)} Events of the last hour can be published again "
            "after that: `gourmetgram outbox replay --since 1h`."
        )


def next_offsets(ranges: Mapping[Partition, OffsetRange], progress: EventsProgress | None) -> Offsets:
    """Offsets after a run: the ends of its ranges. Topics that it did not read keep their offsets."""
    offsets = {topic: dict(partitions) for topic, partitions in progress.offsets.items()} if progress else {}
    for partition, item in ranges.items():
        offsets.setdefault(partition.topic, {})[partition.number] = item.end
    return offsets


def _refuse_other_topic(topic: str, known: str | None, now: str | None, stored: Mapping[int, int]) -> None:
    if known is not None and now is not None and now != known:
        raise PermanentError(
            f"topic {topic} was deleted and created again (its id was {known}, now it is {now}): the stored "
            f"offsets {stored} are those of the old one. {_START_OVER}"
        )


def _refuse_fewer_partitions(topic: str, stored: Mapping[int, int], held: Iterable[Partition]) -> None:
    missing = sorted(set(stored) - {partition.number for partition in held})
    if missing:
        raise PermanentError(
            f"{topic}/{missing[0]}: the partition is gone, but offset {stored[missing[0]]} was stored for it: the "
            f"topic was created again with fewer partitions. {_START_OVER}"
        )


def _refuse_gap(partition: Partition, start: int, held: OffsetRange) -> None:
    if start > held.end:
        raise PermanentError(
            f"{partition}: the stored offset {start} is beyond the topic's end {held.end}: the broker lost records "
            f"that were read, or the topic was deleted and created again. {_accept(partition)}"
        )
    if start < held.start:
        raise PermanentError(
            f"{partition}: offsets [{start}, {held.start}) were not read yet and are gone from the broker, which now "
            f"begins at {held.start} (retention). {_accept(partition)}"
        )
