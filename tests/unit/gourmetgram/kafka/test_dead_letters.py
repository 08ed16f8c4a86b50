"""The policy for records that cannot be processed: published before they are done, and not more often than needed."""

import json

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.events import BadMessage, Record
from gourmetgram.kafka.dead_letters import DeadLetterTopic, RejectedRecord
from gourmetgram.kafka.partitions import Partition
from tests.unit.gourmetgram.kafka.fakes import FakeProducer, Producers

TOPIC = "dead"


def rejected(offset: int, partition: int = 0) -> RejectedRecord:
    return RejectedRecord(Record("views", partition, offset, 0, b"{"), BadMessage(f"not JSON at {offset}", "not JSON"))


def dead_letters(producers: Producers, timeout_s: float = 1.0) -> DeadLetterTopic:
    return DeadLetterTopic(producers, TOPIC, "readers", timeout_s)


def offsets(producer: FakeProducer) -> list[int]:
    return [json.loads(value)["offset"] for value in producer.stored]


def test_a_dead_letter_names_the_position_the_group_and_the_error() -> None:
    producers = Producers()
    dead_letters(producers).publish([rejected(7)])
    (letter,) = map(json.loads, producers.made[0].stored)
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("views", 0, 7)
    assert (letter["consumer_group"], letter["error"]) == ("readers", "not JSON at 7")


def test_nothing_rejected_asks_for_no_producer() -> None:
    producers = Producers()
    dead_letters(producers).publish([])
    assert producers.made == []


def test_records_of_a_batch_that_is_tried_again_are_published_once() -> None:
    producers = Producers()
    letters = dead_letters(producers)
    batch = [rejected(1), rejected(2)]
    letters.publish(batch)
    letters.publish([*batch, rejected(3)])
    assert offsets(producers.made[0]) == [1, 2, 3]


@pytest.mark.parametrize("fault", ["unknown", "refusing"])
def test_a_topic_that_is_missing_is_named_and_a_new_producer_tries_again(fault: str) -> None:
    first = FakeProducer()
    getattr(first, fault).add(TOPIC)
    producers = Producers(first)
    letters = dead_letters(producers)
    with pytest.raises(
        TransientError, match=r"1 dead letters are not published, because topic dead .*python -m gourmetgram.topics"
    ):
        letters.publish([rejected(1)])
    letters.publish([rejected(1)])
    assert [offsets(producer) for producer in producers.made] == [[], [1]]


def test_only_what_the_broker_did_not_confirm_is_published_again() -> None:
    class LosesConnection(FakeProducer):
        def poll(self, timeout_s: float) -> None:
            super().poll(timeout_s)
            self.away = True

    first = LosesConnection()
    first.capacity = 2
    producers = Producers(first)
    letters = dead_letters(producers, timeout_s=0.01)
    batch = [rejected(offset) for offset in range(5)]
    with pytest.raises(TransientError, match="3 dead letters are not published"):
        letters.publish(batch)
    letters.publish(batch)
    assert [offsets(producer) for producer in producers.made] == [[0, 1], [2, 3, 4]]


def test_the_same_position_counts_anew_once_it_is_settled_or_its_partition_is_gone() -> None:
    producers = Producers()
    letters = dead_letters(producers)
    batch = [rejected(1, partition=0), rejected(1, partition=1), rejected(2, partition=1)]
    letters.publish(batch)
    letters.settle([batch[1].record])
    letters.forget([Partition("views", 0)])
    letters.publish(batch)
    published = [(item["partition"], item["offset"]) for item in map(json.loads, producers.made[0].stored)]
    assert published == [(0, 1), (1, 1), (1, 2), (0, 1), (1, 1)]
