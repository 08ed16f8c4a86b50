"""Kafka's part: records that name an erased id, and the deletion of the log up to them.

Kafka cannot delete single records. So a partition loses all records up to the last one that names an id, once every
reader is past it: the stream consumer and the scorer by their committed offsets, the lakehouse by its own.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final

import orjson
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from gourmetgram.errors import TransientError
from gourmetgram.kafka.clients import client_config
from gourmetgram.kafka.offsets import committed_offsets
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, held_ranges
from gourmetgram.lakehouse.erasure import ErasedIds
from gourmetgram.settings import KafkaSettings
from gourmetgram_tools.inspection.kafka_reading import Keyed, read, reader

_CLIENT_ID: Final = "gourmetgram-erasure"
_ANSWER_S: Final = 30.0
_UUIDS: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def ends(settings: KafkaSettings, topics: Iterable[str]) -> dict[Partition, int]:
    """Next offset of each partition.

    Raises:
        TransientError: the broker is away.
    """
    with reader(settings) as consumer:
        return {partition: item.end for partition, item in held_ranges(consumer, topics).items()}


def unread(settings: KafkaSettings, group: str, targets: Mapping[Partition, int]) -> int:
    """Number of records below the targets that a group has not committed.

    Raises:
        TransientError: the broker is away.
    """
    with reader(settings, group) as consumer:
        held = held_ranges(consumer, {partition.topic for partition in targets})
        done = committed_offsets(consumer, targets)
    starts = {partition: held[partition].start for partition in targets}
    return sum(max(0, end - max(starts[place], done[place] or 0)) for place, end in targets.items())


def last_records(settings: KafkaSettings, ids: ErasedIds) -> dict[Partition, int]:
    """Next offset after the last record that names an id, of each partition that has such a record.

    Raises:
        RecordsGoneError: retention deleted records meanwhile: search again.
        TransientError: the broker is away.
    """
    found: dict[Partition, int] = {}
    needles = {each.encode() for each in ids.all}
    with reader(settings) as consumer:
        for item in read(consumer, held_ranges(consumer, settings.all_topics)):
            if _names_any(item, needles, settings.dead_letter_topic):
                found[Partition.of(item.record)] = item.record.offset + 1
    return found


def delete_records(settings: KafkaSettings, before: Mapping[Partition, int]) -> None:
    """Delete the records of partitions below an offset.

    Raises:
        TransientError: the broker is away or refused.
    """
    if not before:
        return
    places = [TopicPartition(*partition, offset) for partition, offset in before.items()]
    try:
        with AdminClient(client_config(settings, _CLIENT_ID)) as admin:
            for answer in admin.delete_records(places).values():
                answer.result(_ANSWER_S)
    except KafkaException as error:
        raise TransientError(f"records were not deleted: {error}. Run the command again.") from error


def number_of(settings: KafkaSettings, before: Mapping[Partition, int]) -> int:
    """Number of records that `delete_records` would delete."""
    with reader(settings) as consumer:
        held: dict[Partition, OffsetRange] = held_ranges(consumer, {partition.topic for partition in before})
    return sum(max(0, offset - held[partition].start) for partition, offset in before.items())


def _names_any(item: Keyed, needles: set[bytes], dead_letter_topic: str) -> bool:
    value = item.record.value or b""
    if item.record.topic == dead_letter_topic:
        value += b" " + _refused_value(value)
    key = item.key or b""
    return not needles.isdisjoint(_UUIDS.findall(key.lower() + b" " + value.lower()))


def _refused_value(letter: bytes) -> bytes:
    """Value of the record that a dead letter contains; empty for another message."""
    try:
        return base64.b64decode(orjson.loads(letter)["value"])
    except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError, ValueError):
        return b""
