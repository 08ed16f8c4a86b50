"""Committed offsets: told exactly, and an answer with an error is no answer."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from gourmetgram.errors import TransientError
from gourmetgram.kafka.offsets import commit_offsets, committed_offsets
from gourmetgram.kafka.partitions import Partition

VIEWS_0, VIEWS_1 = Partition("views", 0), Partition("views", 1)
MOVED = KafkaError(KafkaError.NOT_COORDINATOR)


class FakeConsumer:
    """Answers with the offsets of a group; `error` comes for partition 1, `fails` for all."""

    def __init__(self, error: KafkaError | None = None, fails: bool = False) -> None:
        self.offsets = {0: 7, 1: OFFSET_INVALID}
        self.asked: list[TopicPartition] = []
        self._error = error
        self._fails = fails

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        assert not asynchronous
        return self._answer(offsets)

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[Any]:
        return self._answer(partitions)

    def _answer(self, asked: list[TopicPartition]) -> list[Any]:
        self.asked = asked
        if self._fails:
            raise KafkaException(MOVED)
        return [
            SimpleNamespace(
                topic=item.topic,
                partition=item.partition,
                offset=self.offsets[item.partition],
                error=self._error if item.partition == 1 else None,
            )
            for item in asked
        ]


def test_the_next_offset_of_each_partition_is_committed() -> None:
    consumer: Any = FakeConsumer()
    commit_offsets(consumer, {VIEWS_0: 7, VIEWS_1: 3})
    assert [(item.topic, item.partition, item.offset) for item in consumer.asked] == [("views", 0, 7), ("views", 1, 3)]


def test_nothing_to_commit_or_to_ask_asks_nothing() -> None:
    consumer: Any = FakeConsumer(fails=True)
    commit_offsets(consumer, {})
    assert committed_offsets(consumer, []) == {}


def test_a_partition_without_a_commit_has_none() -> None:
    consumer: Any = FakeConsumer()
    assert committed_offsets(consumer, [VIEWS_0, VIEWS_1]) == {VIEWS_0: 7, VIEWS_1: None}


@pytest.mark.parametrize("consumer", [FakeConsumer(MOVED), FakeConsumer(fails=True)], ids=["one partition", "all"])
def test_an_error_of_any_partition_asks_for_another_attempt(consumer: Any) -> None:
    with pytest.raises(TransientError, match="offsets were not committed"):
        commit_offsets(consumer, {VIEWS_0: 7, VIEWS_1: 3})
    with pytest.raises(TransientError, match="committed offsets are not readable"):
        committed_offsets(consumer, [VIEWS_0, VIEWS_1])
