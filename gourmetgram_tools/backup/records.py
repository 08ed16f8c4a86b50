"""Records of Kafka with offset, broker time, key, value and headers, in one Parquet file a partition."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.kafka.clients import client_config, create_producer
from gourmetgram.kafka.offsets import committed_offsets
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, create_range_reader, held_ranges, read_ranges
from gourmetgram.settings import KafkaSettings
from gourmetgram.topics import ensure_topics
from gourmetgram.waiting import wait_for
from gourmetgram_tools.backup.folder import BackupFolder, GroupOffset
from gourmetgram_tools.local.progress import StepReport

CLIENT_ID: Final = "gourmetgram-backup"

_SCHEMA: Final = pa.schema(
    [
        ("offset", pa.int64()),
        ("time_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)
_ROW_GROUP_BYTES: Final = 4 * 1024 * 1024
_ROWS_AT_ONCE: Final = 5_000
_ANSWER_S: Final = 30.0
_START_AGAIN: Final = "Stop all services, empty the stores, and restore again."
_WHILE_RESTORING: Final = {
    # The records keep the broker times that they had.
    "message.timestamp.type": "CreateTime",
    # Old records must not be deleted before the topic is complete.
    "retention.ms": "-1",
}


def group_offsets(settings: KafkaSettings, group: str, partitions: Sequence[Partition]) -> list[GroupOffset]:
    """Committed offsets of a group.

    Raises:
        TransientError: the broker did not answer.
    """
    with closing(create_range_reader(settings, CLIENT_ID, group)) as consumer:
        found = committed_offsets(consumer, partitions)
    return [
        GroupOffset(group=group, topic=each.topic, number=each.number, offset=offset)
        for each, offset in found.items()
        if offset is not None
    ]


def dump_records(
    settings: KafkaSettings, ranges: Mapping[Partition, OffsetRange], folder: BackupFolder, report: StepReport
) -> None:
    """Write all records of the ranges.

    Raises:
        RecordsGoneError: the broker deleted a record meanwhile.
        PermanentError: an offset inside a range has no record.
        TransientError: the broker went away.
    """
    total, done = sum(span.records for span in ranges.values()), 0
    with closing(create_range_reader(settings, CLIENT_ID, CLIENT_ID)) as consumer:
        for partition, span in ranges.items():
            with pq.ParquetWriter(folder.records(partition), _SCHEMA, compression="zstd") as writer:
                offset = span.start
                for messages in _groups(read_ranges(consumer, {partition: span})):
                    offset = _refuse_hole(partition, messages, offset)
                    writer.write_batch(_to_batch(messages))
                    done += len(messages)
                    report(f"{done:,} of {total:,} records")
                _refuse_hole(partition, (), offset, span.end)


def restore_records(
    settings: KafkaSettings, ranges: Mapping[Partition, OffsetRange], folder: BackupFolder, report: StepReport
) -> None:
    """Write all records to empty topics, with the offsets and broker times that they had.

    Raises:
        PermanentError: a record got another offset or time; the topics must be emptied before the next attempt.
        TransientError: the broker went away.
    """
    total, done = sum(span.end for span in ranges.values()), 0
    with AdminClient(client_config(settings, CLIENT_ID)) as admin:
        _configure(admin, sorted({partition.topic for partition in ranges}))
        writer = _OffsetWriter(create_producer(settings, CLIENT_ID, **{"linger.ms": 50}))
        for partition, span in ranges.items():
            for row in chain(_fillers(span), _records(folder.records(partition))):
                writer.write(partition, row)
                if row["offset"] % _ROWS_AT_ONCE == 0:
                    report(f"{done + row['offset']:,} of {total:,} offsets")
            done += span.end
        writer.finish()
        _delete_before(admin, {partition: span.start for partition, span in ranges.items() if span.start})
    with closing(create_range_reader(settings, CLIENT_ID, CLIENT_ID)) as consumer:
        found = held_ranges(consumer, sorted({partition.topic for partition in ranges}))
    for partition, span in ranges.items():
        if found.get(partition) != span:
            raise PermanentError(
                f"{partition} holds {found.get(partition)} instead of {span}: another program has changed it. "
                f"{_START_AGAIN}"
            )
    counts = {len([each for each in ranges if each.topic == topic]) for topic in {each.topic for each in ranges}}
    ensure_topics(settings, {partition.topic for partition in ranges}, max(counts))


def restore_groups(settings: KafkaSettings, offsets: Sequence[GroupOffset]) -> None:
    """Commit the offsets of groups without members.

    Raises:
        TransientError: the broker refused or did not answer.
    """
    wanted = [
        ConsumerGroupTopicPartitions(
            group, [TopicPartition(each.topic, each.number, each.offset) for each in offsets if each.group == group]
        )
        for group in sorted({each.group for each in offsets})
    ]
    try:
        with AdminClient(client_config(settings, CLIENT_ID)) as admin:
            for request in wanted:  # the client takes one group a call
                for answer in admin.alter_consumer_group_offsets([request], request_timeout=_ANSWER_S).values():
                    for partition in answer.result().topic_partitions or ():
                        if partition.error is not None:
                            raise KafkaException(partition.error)
    except KafkaException as error:
        raise TransientError(f"The offsets of a consumer group were not restored: {error}. {_START_AGAIN}") from error


def _groups(batches: Iterator[list[Message]]) -> Iterator[list[Message]]:
    """Join small batches: each group becomes a row group of the file."""
    group: list[Message] = []
    size = 0
    for messages in batches:
        group += messages
        size += sum(len(message.value() or b"") + len(message.key() or b"") for message in messages)
        if size >= _ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _refuse_hole(partition: Partition, messages: Sequence[Message], offset: int, end: int | None = None) -> int:
    found = [message.offset() for message in messages]
    expected = list(range(offset, offset + len(messages)))
    if found != expected or (end is not None and offset != end):
        raise PermanentError(
            f"{partition}: an offset after {offset - 1} has no record (a transaction or a compaction), so the same "
            "offsets could not be made again. The platform writes no such topic: use one without."
        )
    return offset + len(messages)


def _to_batch(messages: Sequence[Message]) -> pa.RecordBatch:
    columns = (
        [message.offset() for message in messages],
        [message.timestamp()[1] for message in messages],
        [message.key() for message in messages],
        [message.value() for message in messages],
        [_headers(message) for message in messages],
    )
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )


def _headers(message: Message) -> list[dict[str, Any]]:
    headers: Any = message.headers()  # the client's types know only one of its two forms
    return [{"name": name, "value": value} for name, value in headers or ()]


def _records(file: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(file) as source:
        for batch in source.iter_batches(_ROWS_AT_ONCE):
            yield from batch.to_pylist()


class _OffsetWriter:
    """Writes records one after the other, and refuses an answer with another offset or time than wanted."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._failure: str | None = None

    def write(self, partition: Partition, row: Mapping[str, Any]) -> None:
        """Queue a record."""
        offset, time_ms = row["offset"], row["time_ms"]

        def confirmed(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failure = f"{partition}: record {offset} was not stored: {error.str()}."
            elif message.offset() != offset or message.timestamp()[1] != time_ms:
                self._failure = (
                    f"{partition}: record {offset} got offset {message.offset()} and time {message.timestamp()[1]} "
                    f"instead of {time_ms}: another program writes to the topic, or changed it."
                )

        while True:
            try:
                self._producer.produce(
                    partition.topic,
                    row["value"],
                    row["key"],
                    partition.number,
                    confirmed,
                    timestamp=time_ms,
                    headers=[(item["name"], item["value"]) for item in row["headers"] or ()],
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise PermanentError(f"{partition}: record {offset} cannot be sent: {error}. {_START_AGAIN}") from error
            else:
                break
        self._producer.poll(0)
        self._check()

    def finish(self) -> None:
        """Wait until all records are stored."""
        while waiting := len(self._producer):
            self._producer.flush(_ANSWER_S)
            self._check()
            if len(self._producer) == waiting:
                raise TransientError(f"The broker has stored no record for {_ANSWER_S:g} s. {_START_AGAIN}")
        self._check()

    def _check(self) -> None:
        if self._failure:
            self._producer.purge()
            raise PermanentError(f"{self._failure} {_START_AGAIN}")


def _fillers(span: OffsetRange) -> Iterator[dict[str, Any]]:
    """Records in the place of those that were deleted before the backup; they are deleted again."""
    for offset in range(span.start):
        # The client takes the time 0 for the time of now.
        yield {"offset": offset, "time_ms": 1, "key": None, "value": None, "headers": None}


def _configure(admin: AdminClient, topics: Sequence[str]) -> None:
    """Set the topics up for a restore, and wait until the broker knows it."""
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    for resource in resources:
        for name, value in _WHILE_RESTORING.items():
            resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))

    def known() -> bool:
        answers = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic) for topic in topics])
        return all(
            answer.result()[name].value == value
            for answer in answers.values()
            for name, value in _WHILE_RESTORING.items()
        )

    try:
        for answer in admin.incremental_alter_configs(resources, request_timeout=_ANSWER_S).values():
            answer.result()
        wait_for(
            known,
            deadline_s=_ANSWER_S,
            every_s=0.1,
            late=lambda _known: TransientError("The broker did not take over the settings of a topic: try again."),
        )
    except KafkaException as error:
        raise TransientError(f"The topics could not be set up: {error}") from error


def _delete_before(admin: AdminClient, starts: Mapping[Partition, int]) -> None:
    wanted = [TopicPartition(*partition, start) for partition, start in starts.items()]
    if not wanted:
        return
    try:
        for answer in admin.delete_records(wanted, request_timeout=_ANSWER_S).values():
            answer.result()
    except KafkaException as error:
        raise TransientError(f"The first offsets of a topic could not be set: {error}. {_START_AGAIN}") from error
