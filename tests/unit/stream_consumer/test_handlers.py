"""Handling of batches: prepare, send, receive."""

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import Position
from stream_consumer.handlers import BatchHandler
from stream_consumer.pending import PendingRequest
from stream_consumer.progress import StreamProgress
from stream_consumer.requests import RequestPipeline
from stream_consumer.retention import WindowRetention
from stream_consumer.store.milestones import Milestone
from tests.support.consumer_fakes import FakeDeadLetters, FakePublisher, FakeRedis, FakeSource
from tests.support.consumer_records import COMMENTS, IMAGE, START_US, VIEWS, bad_record, record


class Scene:
    """Views and comments begin at 0; the broker holds `high` records of each."""

    def __init__(self, high: int = 0) -> None:
        ends = {VIEWS: high, COMMENTS: high}
        self.redis, self.source, self.dead_letters = FakeRedis(), FakeSource(ends), FakeDeadLetters()
        self.redis.applied = {VIEWS: 0, COMMENTS: 0}
        self.progress = StreamProgress()
        self.progress.restart(self.redis.applied, ends)
        self.retention = WindowRetention(self.progress, self.source, self.redis)
        self.requests = RequestPipeline(
            self.redis, self.source, self.progress, FakePublisher(), "requests", self.retention, lambda _request: None
        )
        self.woken = 0
        self.handler = BatchHandler(
            self.redis, self.progress, self.dead_letters, self.retention, self.requests, self._wake
        )

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_positions_run_from_what_was_read_to_the_end_of_the_batch(scene: Scene) -> None:
    first = scene.handler.prepare([record(VIEWS, 0), record(VIEWS, 1)])
    # The second one is prepared while the first one is not applied yet.
    second = scene.handler.prepare([record(VIEWS, 2), record(COMMENTS, 0, "comment")])
    assert first is not None and second is not None
    assert first.parts[0].positions == {VIEWS: (0, 2)}
    assert second.parts[0].positions == {VIEWS: (2, 3), COMMENTS: (0, 1)}
    assert scene.progress.applied == {VIEWS: 0, COMMENTS: 0}


def test_records_that_do_not_follow_are_refused_and_change_nothing(scene: Scene) -> None:
    scene.handler.prepare([record(VIEWS, 0)])
    assert scene.handler.prepare([record(VIEWS, 0), bad_record(COMMENTS, 0)]) is None
    assert scene.progress.read == {VIEWS: 1, COMMENTS: 0}
    assert scene.dead_letters.published == []


def test_dead_letters_are_confirmed_before_anything_else_and_settled_with_their_batch(scene: Scene) -> None:
    scene.dead_letters.missing = True
    with pytest.raises(TransientError):
        scene.handler.prepare([bad_record(VIEWS, 0)])
    assert scene.progress.read[VIEWS] == 0
    scene.dead_letters.missing = False
    call = scene.handler.prepare([bad_record(VIEWS, 0)])
    assert call is not None
    assert [item.record.offset for item in scene.dead_letters.published] == [0]
    assert scene.dead_letters.settled == []
    scene.handler.send(call)
    scene.handler.receive()
    assert [item.offset for item in scene.dead_letters.settled] == [0]
    assert scene.redis.applied[VIEWS] == 1


def test_an_applied_batch_moves_progress_and_hands_on_requests_and_milestones(scene: Scene) -> None:
    call = scene.handler.prepare([record(VIEWS, 0), record(VIEWS, 1, time_us=START_US + 1)])
    assert call is not None
    viral = PendingRequest(IMAGE, "viral", "event", START_US, 0, Position(VIEWS, 1))
    popular = PendingRequest(IMAGE, "popular", "event", START_US, 0, Position(VIEWS, 1), sends_request=False)
    scene.redis.raise_next = [viral, popular]
    scene.redis.reach_next = [Milestone(IMAGE, 10)]
    scene.handler.send(call)
    assert scene.handler.in_flight
    applied = scene.handler.receive()
    assert applied is not None and applied.batch is call.batch
    assert scene.progress.applied[VIEWS] == 2
    assert scene.progress.broker_time_us == {VIEWS: START_US + 1}
    assert scene.requests.first_unconfirmed() == {VIEWS: 1}
    assert viral.raised_at_us == START_US + 1
    assert scene.woken == 1


def test_a_redis_that_stands_elsewhere_changes_nothing_here(scene: Scene) -> None:
    call = scene.handler.prepare([record(VIEWS, 0)])
    assert call is not None
    scene.redis.applied[VIEWS] = 5
    scene.handler.send(call)
    assert scene.handler.receive() is None
    assert scene.progress.applied[VIEWS] == 0
    assert not scene.handler.in_flight


def test_windows_are_kept_for_a_topic_that_is_behind_and_trimmed_once_it_is_read() -> None:
    scene = Scene(high=1)
    call = scene.handler.prepare([record(VIEWS, 0)])
    assert call is not None
    assert call.parts[0].horizons == {0: 0}
    scene.retention.trim()
    assert scene.redis.trimmed == []
    call = scene.handler.prepare([record(COMMENTS, 0, "comment")])
    assert call is not None and call.parts[0].horizons == {}
    scene.retention.trim()
    assert scene.redis.trimmed == [IMAGE]


def test_partitions_that_are_gone_are_forgotten_everywhere(scene: Scene) -> None:
    request = PendingRequest(IMAGE, "viral", "event", START_US, 0, Position(VIEWS, 1))
    scene.progress.broker_time_us[VIEWS] = START_US
    scene.requests.add([request])
    scene.handler.forget()
    assert set(scene.dead_letters.forgotten) == {VIEWS, COMMENTS}
    assert not scene.requests.active
    assert scene.progress.applied == scene.progress.read == {}
