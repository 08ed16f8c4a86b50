"""The publisher on a producer in memory: what is confirmed, what is not, and which producer comes next."""

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError

from gourmetgram.errors import TransientError
from gourmetgram.kafka.publish import OutgoingMessage, Publisher
from tests.unit.gourmetgram.kafka.fakes import REFUSED, UNKNOWN, FakeProducer, Producers


def messages(*topics: str) -> list[OutgoingMessage]:
    return [OutgoingMessage(topic, "key", str(number).encode()) for number, topic in enumerate(topics)]


class After(threading.Event):
    """Set from the given question on."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self._left = questions

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0


def test_all_messages_are_confirmed_in_their_order_by_one_producer() -> None:
    producers = Producers()
    publisher = Publisher(producers)
    sent = messages("a", "b", "a")
    assert publisher.publish(sent) == (sent, {}, 0)
    assert publisher.publish(sent).confirmed == sent
    (producer,) = producers.made
    assert producer.stored == [b"0", b"1", b"2"] * 2


def test_no_producer_is_created_before_it_is_needed() -> None:
    producers = Producers()
    Publisher(producers).close()
    assert producers.made == []


def test_a_batch_is_queued_as_a_whole_before_the_first_answer_is_waited_for() -> None:
    producers = Producers()
    Publisher(producers).publish(messages(*"a" * 500))
    assert len(producers.made[0].polls) == 1


def test_a_full_queue_makes_room_and_loses_nothing() -> None:
    producer = FakeProducer()
    producer.capacity = 3
    sent = messages(*"a" * 10)
    assert Publisher(Producers(producer)).publish(sent).confirmed == sent
    assert producer.stored == [message.value for message in sent]


def test_a_full_queue_ends_with_the_patience_of_the_caller() -> None:
    producer = FakeProducer()
    producer.capacity, producer.away = 3, True
    outcome = Publisher(Producers(producer)).publish(messages(*"a" * 10), abandon=After(5))
    assert outcome == ([], {}, 10)


@pytest.mark.parametrize(("kind", "error"), [("unknown", UNKNOWN), ("refusing", REFUSED)])
def test_a_topic_that_fails_stops_none_of_the_others(kind: str, error: KafkaError) -> None:
    producer = FakeProducer()
    getattr(producer, kind).add("b")
    sent = messages("a", "b", "a", "b")
    outcome = Publisher(Producers(producer)).publish(sent)
    assert outcome.confirmed == [sent[0], sent[2]]
    assert {topic: failure.code() for topic, failure in outcome.failures.items()} == {"b": error.code()}
    assert outcome.unconfirmed == 2


def test_no_message_overtakes_an_earlier_one_of_its_topic_that_failed() -> None:
    producer = FakeProducer()
    producer.unknown.add("a")

    def topic_appears() -> Any:
        first, second = messages("a", "a")
        yield first
        producer.unknown.clear()
        yield second

    assert Publisher(Producers(producer)).publish(topic_appears()).confirmed == []
    assert producer.stored == []


def test_after_an_unconfirmed_message_a_new_producer_publishes_and_the_old_one_keeps_nothing() -> None:
    first = FakeProducer()
    first.away = True
    producers = Producers(first)
    publisher = Publisher(producers)
    assert publisher.publish(messages("a"), abandon=After(3)).unconfirmed == 1
    first.away = False
    first.poll(0)
    assert first.stored == []
    assert publisher.publish(messages("a")).unconfirmed == 0
    assert len(producers.made) == 2


def test_messages_that_this_process_dropped_are_no_failure_of_their_topic() -> None:
    first = FakeProducer()
    first.away = True
    publisher = Publisher(Producers(first))
    publisher_of = publisher.producer

    class DiscardedMeanwhile(threading.Event):
        def is_set(self) -> bool:
            publisher.discard(publisher_of)
            return False

    assert publisher.publish(messages("a", "b"), abandon=DiscardedMeanwhile()) == ([], {}, 2)


def test_a_discarded_producer_does_not_take_its_successor_with_it() -> None:
    producers = Producers()
    publisher = Publisher(producers)
    first = publisher.producer
    publisher.discard(first)
    second = publisher.producer
    publisher.discard(first)
    assert publisher.producer is second
    publisher.close()
    assert publisher.producer is not second


def test_a_fault_of_the_client_takes_the_producer_with_it() -> None:
    class Broken(FakeProducer):
        def produce(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("broken")

    producers = Producers(Broken())
    publisher = Publisher(producers)
    with pytest.raises(RuntimeError, match="broken"):
        publisher.publish(messages("a"))
    assert publisher.publish(messages("a")).unconfirmed == 0
    assert len(producers.made) == 2


def test_the_wait_for_answers_ends_in_time() -> None:
    producer = FakeProducer()
    producer.away = True
    outcome = Publisher(Producers(producer)).publish(iter(messages("a", "b")), timeout_s=0.01)
    assert outcome == ([], {}, 2)
    assert max(producer.polls) <= 0.01


def test_send_returns_at_once_and_the_answer_comes_later() -> None:
    producers = Producers()
    publisher = Publisher(producers)
    answers: list[KafkaError | None] = []
    for message in messages("a", "b"):
        publisher.send(message, lambda error, _message: answers.append(error))
    assert producers.made[0].stored == answers == []
    publisher.serve()
    assert answers == [None, None]
    producers.made[0].refusing.add("a")
    publisher.send(messages("a")[0], lambda error, _message: answers.append(error))
    publisher.flush(1.0)
    assert answers == [None, None, REFUSED]


def test_send_says_which_topic_does_not_take_a_message_and_does_not_wait_for_room() -> None:
    producer = FakeProducer()
    producer.unknown.add("a")
    producer.capacity = 0
    publisher = Publisher(Producers(producer))
    with pytest.raises(TransientError, match=r"topic a refuses the message: .*python -m gourmetgram.topics"):
        publisher.send(messages("a")[0], lambda _error, _message: None)
    with pytest.raises(TransientError, match="queue is full"):
        publisher.send(messages("b")[0], lambda _error, _message: None)
    assert producer.polls == []
