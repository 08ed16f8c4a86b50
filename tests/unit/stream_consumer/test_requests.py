"""Requests: from the condition that was met to the confirmation, stage by stage."""

import time

import pytest
from confluent_kafka import KafkaError

from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import Partition, Position
from gourmetgram.moments import SECOND_US
from stream_consumer.pending import PendingRequest
from stream_consumer.progress import StreamProgress
from stream_consumer.requests import RequestPipeline
from stream_consumer.retention import WindowRetention
from stream_consumer.store.connection import RedisUnavailableError
from tests.support.consumer_fakes import FakePublisher, FakeRedis, FakeSource
from tests.support.consumer_records import IMAGE, START_US

VIEWS, FLAGS, OTHER = Partition("views", 0), Partition("flags", 0), Partition("views", 1)
PAST_US = START_US + 10 * SECOND_US


class Scene:
    """Views are applied up to 10 of 10, flags up to 5 of 7; all at the time START_US."""

    def __init__(self) -> None:
        self.redis, self.publisher = FakeRedis(), FakePublisher()
        self.source = FakeSource({VIEWS: 10, FLAGS: 7, OTHER: 3})
        self.progress = StreamProgress()
        self.progress.restart({VIEWS: 10, FLAGS: 5, OTHER: 3}, {})
        self.progress.broker_time_us.update({VIEWS: START_US, FLAGS: START_US})
        self.sent: list[PendingRequest] = []
        self.now_us = START_US
        self.pipeline = RequestPipeline(
            self.redis,
            self.source,
            self.progress,
            self.publisher,
            "requests",
            WindowRetention(self.progress, self.source, self.redis),
            self.sent.append,
            lambda: self.now_us,
        )

    def raise_one(self, number: int = 1, offset: int = 9) -> PendingRequest:
        request = PendingRequest(IMAGE, "viral", f"event-{number}", START_US, 0, Position(VIEWS, offset))
        self.redis.kept[request.identity] = request
        self.pipeline.add([request])
        return request


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_request_waits_until_the_other_topics_are_applied_to_their_ends(scene: Scene) -> None:
    request = scene.raise_one()
    scene.pipeline.advance()
    assert request.targets == {FLAGS: 7}
    assert scene.source.asked_ends == [{FLAGS}]
    assert scene.redis.frozen == []
    scene.progress.applied[FLAGS] = 7
    scene.pipeline.advance()
    assert scene.redis.frozen == [request.identity]
    assert len(scene.publisher.values) == 1


def test_a_topic_that_is_past_the_request_needs_no_end(scene: Scene) -> None:
    scene.progress.broker_time_us[FLAGS] = PAST_US + 1
    request = scene.raise_one()
    scene.pipeline.advance()
    assert scene.source.asked_ends == []
    assert request.targets == {FLAGS: 5}
    assert scene.redis.frozen == [request.identity]


def test_a_topic_that_gets_past_the_request_while_it_waits_is_far_enough(scene: Scene) -> None:
    request = scene.raise_one()
    scene.pipeline.advance()
    scene.progress.broker_time_us[FLAGS] = PAST_US
    scene.pipeline.advance()
    assert scene.redis.frozen == []
    scene.progress.broker_time_us[FLAGS] = PAST_US + 1
    scene.pipeline.advance()
    assert scene.redis.frozen == [request.identity]
    assert request.targets == {FLAGS: 5}


def test_after_a_restart_only_the_end_counts(scene: Scene) -> None:
    request = scene.raise_one()
    request.raised_at_us = None
    scene.progress.broker_time_us[FLAGS] = PAST_US + 1
    scene.pipeline.advance()
    assert scene.source.asked_ends == [{FLAGS}]
    assert scene.redis.frozen == []


def test_a_confirmed_request_is_deleted_reported_and_sent_once(scene: Scene) -> None:
    scene.progress.applied[FLAGS] = 7
    request = scene.raise_one()
    scene.pipeline.advance()
    scene.pipeline.advance()
    assert len(scene.publisher.values) == 1
    assert scene.pipeline.active
    scene.publisher.answer()
    scene.pipeline.advance()
    assert scene.redis.confirmed == [request.identity]
    assert scene.sent == [request]
    assert not scene.pipeline.active


def test_requests_that_are_ready_together_leave_in_the_order_of_their_times(scene: Scene) -> None:
    scene.progress.applied[FLAGS] = 7
    late, early = scene.raise_one(1), scene.raise_one(2)
    early.time_us -= 1
    scene.pipeline.advance()
    assert scene.publisher.values == [early.message(), late.message()]


def test_a_refused_request_is_sent_again_a_second_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    scene.progress.applied[FLAGS] = 7
    scene.raise_one()
    scene.pipeline.advance()
    scene.publisher.answer(KafkaError(KafkaError._MSG_TIMED_OUT))
    scene.pipeline.advance()
    assert len(scene.publisher.values) == 1
    now = 101.0
    scene.pipeline.advance()
    assert len(scene.publisher.values) == 2
    assert scene.publisher.values[0] == scene.publisher.values[1]


def test_a_topic_that_does_not_take_a_request_is_named(scene: Scene) -> None:
    scene.progress.applied[FLAGS] = 7
    request = scene.raise_one()
    scene.publisher.refuse = True
    with pytest.raises(TransientError, match=f"the request for {request.identity} waits: topic requests"):
        scene.pipeline.advance()
    scene.publisher.refuse = False
    scene.pipeline.advance()
    assert len(scene.publisher.values) == 1


def test_a_confirmation_survives_an_outage_of_redis(scene: Scene) -> None:
    scene.progress.applied[FLAGS] = 7
    request = scene.raise_one()
    scene.pipeline.advance()
    scene.publisher.answer()
    scene.redis.away = True
    with pytest.raises(RedisUnavailableError):
        scene.pipeline.advance()
    scene.redis.away = False
    scene.pipeline.advance()
    assert scene.redis.confirmed == [request.identity]
    assert scene.sent == [request]


def test_a_request_that_another_process_has_confirmed_is_dropped(scene: Scene) -> None:
    scene.progress.applied[FLAGS] = 7
    request = scene.raise_one()
    scene.redis.gone.add(request.identity)
    scene.pipeline.advance()
    assert scene.publisher.values == []
    assert not scene.pipeline.active


def test_no_commit_may_pass_the_first_record_whose_request_is_not_confirmed(scene: Scene) -> None:
    scene.raise_one(1, offset=9)
    scene.raise_one(2, offset=7)
    anchor = PendingRequest.anchor(f"{IMAGE}/anchor_5", START_US, 0)
    scene.redis.anchors = [anchor]
    scene.pipeline.add_due_anchors()
    assert scene.pipeline.first_unconfirmed() == {VIEWS: 7}


def test_reloading_tells_only_the_requests_that_are_new_here(scene: Scene) -> None:
    known = scene.raise_one(1)
    foreign = PendingRequest(IMAGE, "flagged", "event-2", START_US, 0, Position(FLAGS, 3))
    elsewhere = PendingRequest(IMAGE, "flagged", "event-3", START_US, 5, Position(Partition("flags", 5), 3))
    scene.redis.kept.update({foreign.identity: foreign, elsewhere.identity: elsewhere})
    assert scene.pipeline.reload() == [foreign]
    assert scene.pipeline.first_unconfirmed() == {VIEWS: 9, FLAGS: 3}
    assert known.identity in scene.redis.kept


def test_an_anchor_waits_for_its_time_and_for_all_topics(scene: Scene) -> None:
    anchor = PendingRequest.anchor(f"{IMAGE}/anchor_5", START_US + 5, 0)
    scene.redis.anchors = [anchor]
    scene.pipeline.add_due_anchors()
    assert not scene.pipeline.active
    scene.now_us = START_US + 5
    scene.pipeline.add_due_anchors()
    scene.pipeline.add_due_anchors()
    scene.pipeline.advance()
    assert scene.source.asked_ends == [{VIEWS, FLAGS}]
    assert anchor.targets == {VIEWS: 10, FLAGS: 7}


def test_settling_waits_for_the_answers(scene: Scene) -> None:
    scene.progress.applied[FLAGS] = 7
    request = scene.raise_one()
    scene.pipeline.advance()
    scene.pipeline.settle(1.0)
    assert scene.redis.confirmed == [request.identity]


def test_requests_of_partitions_that_are_gone_are_forgotten_here_only(scene: Scene) -> None:
    request = scene.raise_one()
    scene.pipeline.drop()
    assert not scene.pipeline.active
    assert scene.pipeline.reload() == [request]


def test_many_requests_are_frozen_in_several_calls(scene: Scene) -> None:
    scene.progress.applied[FLAGS] = 7
    for number in range(1001):
        scene.raise_one(number)
    scene.pipeline.advance()
    assert scene.redis.calls.count("freeze") == 3
    assert len(scene.publisher.values) == 1001
