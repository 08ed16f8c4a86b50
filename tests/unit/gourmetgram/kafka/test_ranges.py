"""Reading a fixed range on a consumer in memory: exactly its records, whatever else the broker sends."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange, RecordsGoneError, held_ranges, read_ranges
from gourmetgram.kafka.records import to_record

VIEWS_0, VIEWS_1 = Partition("views", 0), Partition("views", 1)


def message(partition: Partition, offset: int, error: int | None = None) -> Message:
    return Message(*partition, offset, error=None if error is None else KafkaError(error))


def end_of(partition: Partition, offset: int) -> Message:
    return message(partition, offset, KafkaError._PARTITION_EOF)


class FakeConsumer:
    """Sends the batches it is given, then nothing."""

    def __init__(self, *batches: list[Message]) -> None:
        self.batches = list(batches)
        self.asked: list[int] = []
        self.starts: dict[Partition, int] = {}
        self.paused: list[Partition] = []
        self.assigned = False
        self.held: dict[Partition, tuple[int, int] | None] = {}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = True
        self.starts = {Partition(item.topic, item.partition): item.offset for item in partitions}

    def unassign(self) -> None:
        self.assigned = False

    def resume(self, places: list[TopicPartition]) -> None:
        pass

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused += [Partition(item.topic, item.partition) for item in partitions]

    def consume(self, most: int, _timeout_s: float) -> list[Message]:
        self.asked.append(most)
        return self.batches.pop(0) if self.batches else []

    def list_topics(self, topic: str, timeout: float) -> Any:
        numbers = {partition.number: None for partition in self.held if partition.topic == topic}
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=numbers)})

    def get_watermark_offsets(self, asked: TopicPartition, timeout: float) -> tuple[int, int] | None:
        return self.held[Partition(asked.topic, asked.partition)]


def read(consumer: Any, wanted: dict[Partition, OffsetRange]) -> list[tuple[Partition, int]]:
    batches = list(read_ranges(consumer, wanted))
    assert all(batches)
    assert not consumer.assigned
    records = [to_record(item) for batch in batches for item in batch]
    return [(Partition.of(record), record.offset) for record in records]


def test_exactly_the_range_is_read_from_its_start() -> None:
    consumer = FakeConsumer([message(VIEWS_0, offset) for offset in range(5, 12)])
    assert read(consumer, {VIEWS_0: OffsetRange(5, 8)}) == [(VIEWS_0, 5), (VIEWS_0, 6), (VIEWS_0, 7)]
    assert consumer.starts == {VIEWS_0: 5}
    assert consumer.paused == [VIEWS_0]


def test_partitions_end_one_by_one_and_what_is_fetched_ahead_is_dropped() -> None:
    consumer = FakeConsumer(
        [message(VIEWS_0, 0), message(VIEWS_0, 1), message(VIEWS_1, 0), message(VIEWS_0, 2)],
        [message(VIEWS_0, 3), message(VIEWS_1, 1)],
    )
    assert read(consumer, {VIEWS_0: OffsetRange(0, 2), VIEWS_1: OffsetRange(0, 2)}) == [
        (VIEWS_0, 0), (VIEWS_0, 1), (VIEWS_1, 0), (VIEWS_1, 1)
    ]  # fmt: skip
    assert consumer.paused == [VIEWS_0, VIEWS_1]


def test_empty_ranges_are_not_asked_for() -> None:
    consumer = FakeConsumer([message(VIEWS_1, 7)])
    assert read(consumer, {VIEWS_0: OffsetRange(3, 3), VIEWS_1: OffsetRange(7, 8)}) == [(VIEWS_1, 7)]
    assert consumer.starts == {VIEWS_1: 7}
    assert read(nothing := FakeConsumer(), {VIEWS_0: OffsetRange(3, 3)}) == []
    assert nothing.asked == []


def test_a_range_whose_last_offsets_hold_no_message_ends_with_its_partition() -> None:
    consumer = FakeConsumer([message(VIEWS_0, 0), message(VIEWS_0, 1)], [end_of(VIEWS_0, 4)])
    assert read(consumer, {VIEWS_0: OffsetRange(0, 4)}) == [(VIEWS_0, 0), (VIEWS_0, 1)]


def test_a_range_whose_last_offsets_hold_no_message_ends_with_a_later_message() -> None:
    consumer = FakeConsumer([message(VIEWS_0, 0), message(VIEWS_0, 6)])
    assert read(consumer, {VIEWS_0: OffsetRange(0, 4)}) == [(VIEWS_0, 0)]


def test_an_end_inside_the_range_does_not_end_it() -> None:
    consumer = FakeConsumer([message(VIEWS_0, 0), end_of(VIEWS_0, 1)], [message(VIEWS_0, 1)])
    assert read(consumer, {VIEWS_0: OffsetRange(0, 2)}) == [(VIEWS_0, 0), (VIEWS_0, 1)]


def test_no_more_messages_are_waited_for_than_are_left() -> None:
    batches = [[message(VIEWS_0, offset) for offset in range(5_000)], [message(VIEWS_0, 5_000)]]
    consumer = FakeConsumer(*batches)
    assert len(read(consumer, {VIEWS_0: OffsetRange(0, 5_001)})) == 5_001
    assert consumer.asked == [5_000, 1]


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE])
def test_records_that_are_gone_are_no_jump_but_an_error_with_their_range(code: int) -> None:
    consumer = FakeConsumer([message(VIEWS_1, 3)], [message(VIEWS_0, 5, code)])
    with pytest.raises(RecordsGoneError, match=r"views/0: the broker deleted records of \[5, 9\) while they were read"):
        read(consumer, {VIEWS_0: OffsetRange(5, 9), VIEWS_1: OffsetRange(3, 9)})
    assert not consumer.assigned


def test_any_other_error_asks_for_another_attempt() -> None:
    consumer = FakeConsumer([message(VIEWS_0, 0, KafkaError._TRANSPORT)])
    with pytest.raises(TransientError, match="error while records were read"):
        read(consumer, {VIEWS_0: OffsetRange(0, 9)})


def test_a_silent_broker_ends_the_reading_and_the_rest_is_named() -> None:
    consumer: Any = FakeConsumer([message(VIEWS_0, 0)])
    with pytest.raises(TransientError, match="sent nothing for 0 s; still to read: views/1"):
        list(read_ranges(consumer, {VIEWS_0: OffsetRange(0, 1), VIEWS_1: OffsetRange(0, 1)}, silence_s=0.0))
    assert not consumer.assigned


def test_held_ranges_are_the_watermarks_of_the_topics_that_exist() -> None:
    consumer: Any = FakeConsumer()
    consumer.held = {VIEWS_1: (0, 0), VIEWS_0: (3, 9), Partition("flags", 0): (1, 2)}
    assert held_ranges(consumer, ["views", "missing"]) == {VIEWS_0: (3, 9), VIEWS_1: (0, 0)}


def test_a_broker_that_does_not_tell_its_offsets_is_away() -> None:
    consumer: Any = FakeConsumer()
    consumer.held = {VIEWS_0: None}
    with pytest.raises(TransientError, match="offsets of views/0 within 10 s"):
        held_ranges(consumer, ["views"])

    def refuse(*_: Any, **__: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    consumer.list_topics = refuse
    with pytest.raises(TransientError, match="did not report its offsets"):
        held_ranges(consumer, ["views"])
