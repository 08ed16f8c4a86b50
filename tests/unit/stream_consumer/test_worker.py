"""The loop: each numbered step, its order, and the ways back to step 1."""

import logging
import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from gourmetgram.errors import PlatformError
from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition, Position
from gourmetgram.kafka.status import BrokerWatch
from gourmetgram.moments import HOUR_US
from stream_consumer.alignment import Alignment
from stream_consumer.batch import EventGroup
from stream_consumer.commits import CommitMirror
from stream_consumer.continuity import LastRecord
from stream_consumer.handlers import BatchHandler
from stream_consumer.health import ConsumerHealth
from stream_consumer.pending import PendingRequest
from stream_consumer.progress import StreamProgress
from stream_consumer.recovery import Recovery
from stream_consumer.report import ConsumerReport
from stream_consumer.requests import RequestPipeline
from stream_consumer.retention import WindowRetention
from stream_consumer.settings import ConsumerSettings
from stream_consumer.store.batches import GroupCounts
from stream_consumer.worker import Phase, StreamWorker
from tests.support.consumer_fakes import FakeDeadLetters, FakePublisher, FakeRedis, FakeSource
from tests.support.consumer_records import COMMENTS, IMAGE, START_US, VIEWS, bad_record, record

FULL = 3


class Scene:
    """A worker on fakes; views and comments of partition number 0 are empty in the broker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.now_us = START_US
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        settings = ConsumerSettings.load({"CONSUMER_MAX_BATCH_RECORDS": str(FULL)})
        self.redis, self.publisher, self.dead_letters = FakeRedis(), FakePublisher(), FakeDeadLetters()
        self.source = FakeSource({VIEWS: 0, COMMENTS: 0})
        self.progress = progress = StreamProgress()
        report = ConsumerReport(settings, progress, self._window_counts)
        retention = WindowRetention(progress, self.source, self.redis)
        requests = RequestPipeline(
            self.redis,
            self.source,
            progress,
            self.publisher,
            "requests",
            retention,
            report.request_sent,
            lambda: START_US,
        )
        self.health = ConsumerHealth(lambda: True, 30.0)
        source: FakeSource = self.source
        self.worker = StreamWorker(
            settings,
            source,  # type: ignore[arg-type]
            Alignment(source, source, source, self.redis, progress, 24 * HOUR_US, lambda: START_US),
            Recovery(source, source, self.redis, retention, requests, progress, "requests", lambda: self.now_us),
            BatchHandler(self.redis, progress, self.dead_letters, retention, requests, lambda: None),
            requests,
            report,
            CommitMirror(source, progress, requests),
            retention,
            self.health,
            BrokerWatch(),
        )
        source.subscribe(self.worker)

    def _window_counts(self, groups: Sequence[EventGroup]) -> list[GroupCounts]:
        self.redis.calls.append("window_counts")
        return [GroupCounts(1, 1, 1) for _ in groups]

    def phase(self) -> Phase:
        return self.worker.phase

    def begin(self) -> None:
        """Assign both partitions and align."""
        self.source.assign(VIEWS, COMMENTS)
        self.turn()
        self.redis.calls.clear()

    def turn(self, seconds: float = 0.2) -> None:
        self.worker.turn()
        self.now += seconds


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Scene:
    caplog.set_level(logging.INFO)
    return Scene(monkeypatch)


def views(first: int, number: int = 1) -> list[Record]:
    return [record(VIEWS, offset) for offset in range(first, first + number)]


def comments(first: int, number: int = 1) -> list[Record]:
    return [record(COMMENTS, offset, "comment") for offset in range(first, first + number)]


def viral(offset: int, partition: Partition = VIEWS) -> PendingRequest:
    return PendingRequest(IMAGE, "viral", f"event-{offset}", START_US, 0, Position(partition, offset))


def test_without_partitions_the_worker_rests_in_the_group(scene: Scene) -> None:
    scene.turn()
    assert scene.phase() is Phase.UNASSIGNED
    assert scene.source.polls == []


def test_step_1_begins_to_read_where_redis_stands(scene: Scene) -> None:
    scene.redis.applied = {VIEWS: 0}
    scene.source.assign(VIEWS, COMMENTS)
    assert scene.phase() is Phase.ALIGNING
    scene.turn()
    assert scene.phase() is Phase.READING
    assert scene.source.started == [{VIEWS: 0, COMMENTS: 0}]


def test_step_1_takes_over_the_requests_that_redis_keeps(scene: Scene) -> None:
    scene.redis.kept = {"a": viral(0)}
    scene.begin()
    scene.turn()
    assert len(scene.publisher.values) == 1


def test_step_1_sends_no_request_that_the_broker_has(scene: Scene) -> None:
    request = viral(0)
    scene.redis.kept = {request.identity: request}
    scene.source.log = {Partition("requests", 0): {0: Record("requests", 0, 0, START_US, request.message())}}
    scene.begin()
    for _ in range(3):
        scene.turn()
    assert scene.publisher.values == []
    assert scene.redis.confirmed == [request.identity]


def test_step_1_reads_again_in_steps_and_stays_in_the_group(scene: Scene) -> None:
    scene.source.log = {VIEWS: {0: views(0)[0], 1: record(VIEWS, 1)}}
    scene.source.high[VIEWS] = 2
    scene.redis.applied = {VIEWS: 1}
    scene.now_us = START_US + HOUR_US
    scene.source.assign(VIEWS, COMMENTS)
    scene.turn()
    assert scene.phase() is Phase.RECOVERING
    assert len(scene.redis.rebuilt) == 1
    assert scene.source.started == []
    scene.turn()
    assert scene.phase() is Phase.READING
    assert scene.source.started == [{VIEWS: 1, COMMENTS: 0}]


def test_a_rebalance_while_step_1_reads_again_starts_it_anew(scene: Scene) -> None:
    scene.source.log = {VIEWS: {0: views(0)[0], 1: record(VIEWS, 1)}}
    scene.source.high[VIEWS] = 2
    scene.redis.applied = {VIEWS: 1}
    scene.now_us = START_US + HOUR_US
    scene.source.assign(VIEWS, COMMENTS)
    scene.source.rebalance = scene.source.revoke
    scene.turn()
    assert scene.phase() is Phase.UNASSIGNED
    assert scene.source.started == []


def test_a_broker_that_comes_back_leads_back_to_step_1(scene: Scene) -> None:
    scene.begin()
    scene.source.connected = False
    scene.turn(1.1)
    scene.turn(1.1)
    assert scene.phase() is Phase.READING
    scene.source.connected = True
    scene.turn(1.1)
    assert scene.phase() is Phase.ALIGNING
    scene.turn(1.1)
    assert len(scene.source.started) == 2


def test_a_broker_that_lost_records_while_it_was_read_ends_the_process(scene: Scene) -> None:
    scene.begin()
    scene.redis.applied[VIEWS] = 5
    scene.redis.last[VIEWS] = LastRecord(4, START_US, "")
    with pytest.raises(PlatformError, match="only a new process can read its older log"):
        for _ in range(3):
            scene.turn(1.1)


def test_step_2_drops_records_when_a_rebalance_comes_with_them(scene: Scene) -> None:
    scene.begin()
    scene.source.waiting = [views(0)]

    def rebalance() -> None:
        scene.source.revoke()
        scene.source.assign(VIEWS)

    scene.source.rebalance = rebalance
    scene.turn()
    assert scene.redis.batches == []
    assert scene.phase() is Phase.ALIGNING
    scene.source.waiting = [views(0)]
    scene.turn()
    assert len(scene.redis.batches) == 1


def test_steps_3_and_4_apply_a_small_batch_at_once(scene: Scene) -> None:
    scene.begin()
    scene.source.waiting = [views(0, 2)]
    scene.turn()
    assert scene.redis.applied[VIEWS] == 2
    assert not scene.redis.in_flight


def test_a_full_batch_is_in_flight_while_the_next_one_is_prepared(scene: Scene) -> None:
    scene.begin()
    scene.source.waiting = [views(0, FULL), views(FULL, FULL), views(2 * FULL, 1)]
    scene.turn(0.01)
    assert scene.redis.in_flight
    assert scene.redis.applied[VIEWS] == 0
    scene.turn(0.01)
    assert (scene.redis.in_flight, scene.redis.applied[VIEWS]) == (True, FULL)
    scene.turn(0.01)
    assert (scene.redis.in_flight, scene.redis.applied[VIEWS]) == (False, 2 * FULL + 1)
    # While a batch is in flight, the poll does not wait.
    assert scene.source.polls[-2:] == [0.0, 0.0]


def test_nothing_is_asked_of_redis_between_sending_a_batch_and_its_answer(scene: Scene) -> None:
    scene.begin()
    scene.source.waiting = [comments(0, FULL), comments(FULL, FULL), comments(2 * FULL, FULL)]
    for _ in range(4):
        scene.redis.raise_next = [viral(0, COMMENTS)]
        scene.turn(0.01)
    assert {after for before, after in pairwise(scene.redis.calls) if before == "send"} == {"receive"}
    assert {"freeze", "window_counts"} <= set(scene.redis.calls)


def test_step_5_sends_a_request_before_step_6_reports(scene: Scene) -> None:
    scene.begin()
    scene.redis.raise_next = [viral(0, COMMENTS)]
    scene.source.waiting = [comments(0)]
    scene.turn()
    assert scene.redis.calls.index("freeze") < scene.redis.calls.index("window_counts")
    assert len(scene.publisher.values) == 1


def test_step_7_commits_no_record_past_an_unconfirmed_request(scene: Scene) -> None:
    scene.begin()
    scene.redis.raise_next = [viral(1)]
    scene.source.waiting = [views(0, 2)]
    scene.turn()
    assert scene.source.commits[-1][0][VIEWS] == 1
    scene.publisher.answer()
    scene.turn()
    assert scene.source.commits[-1] == ({VIEWS: 2}, False)


def test_step_8_trims_once_the_neighbour_is_read(scene: Scene) -> None:
    scene.source.high[COMMENTS] = 1
    scene.begin()
    scene.source.waiting = [views(0)]
    scene.turn()
    assert scene.redis.trimmed == []
    scene.source.waiting = [comments(0)]
    scene.turn()
    assert scene.redis.trimmed == [IMAGE]


def test_step_8_does_not_overtake_the_last_full_batch(scene: Scene) -> None:
    """Its connection is another one: Redis might trim first what this batch's requests need."""
    scene.source.high[VIEWS] = FULL
    scene.source.high[COMMENTS] = 1
    scene.begin()
    scene.source.waiting = [comments(0), views(0, FULL)]
    scene.turn()
    scene.turn(0.01)
    assert scene.redis.in_flight
    assert scene.redis.trimmed == []
    scene.turn()
    assert scene.redis.trimmed == [IMAGE]


def test_step_8_trims_images_whose_contexts_are_fixed(scene: Scene) -> None:
    scene.source.high[COMMENTS] = 1
    scene.begin()
    scene.redis.raise_next = [viral(0)]
    scene.source.waiting = [views(0) + comments(0)]
    scene.turn()
    assert scene.redis.frozen
    assert scene.redis.trimmed == [IMAGE]


def test_a_redis_that_stands_elsewhere_leads_back_to_step_1(scene: Scene) -> None:
    scene.begin()
    scene.redis.applied[VIEWS] = 4
    scene.source.high[VIEWS] = 4
    scene.source.waiting = [views(0)]
    scene.turn()
    assert scene.phase() is Phase.ALIGNING
    scene.turn()
    assert scene.source.started[-1] == {VIEWS: 4, COMMENTS: 0}
    assert scene.redis.batches == []


def test_a_redis_that_was_set_back_is_noticed_without_records(scene: Scene) -> None:
    scene.source.high[VIEWS] = 1
    scene.begin()
    scene.source.waiting = [views(0)]
    scene.turn()
    scene.redis.applied.clear()
    scene.turn(1.1)
    scene.turn()
    assert scene.phase() is Phase.ALIGNING
    scene.turn()
    assert scene.source.started == [{VIEWS: 0, COMMENTS: 0}] * 2


def test_records_that_do_not_follow_lead_back_to_step_1_after_the_batch_in_flight(scene: Scene) -> None:
    scene.begin()
    scene.source.waiting = [views(0, FULL), views(0)]
    scene.turn(0.01)
    scene.turn(0.01)
    assert scene.redis.applied[VIEWS] == FULL
    assert scene.phase() is Phase.ALIGNING


def test_while_redis_is_away_nothing_is_committed_and_step_1_follows(scene: Scene) -> None:
    scene.begin()
    commits = len(scene.source.commits)
    scene.redis.away = True
    scene.source.waiting = [views(0)]
    scene.turn()
    assert scene.phase() is Phase.ALIGNING
    assert (scene.health.redis_up, scene.health.waiting_for) == (False, "Redis: away")
    scene.turn()
    assert len(scene.source.commits) == commits
    scene.redis.away = False
    scene.source.waiting = [views(0)]
    scene.turn(1.1)
    scene.turn()
    assert scene.health.redis_up
    assert scene.redis.applied[VIEWS] == 1


def test_a_missing_dead_letter_topic_keeps_the_offset(scene: Scene) -> None:
    scene.begin()
    scene.dead_letters.missing = True
    scene.source.waiting = [[bad_record(VIEWS, 0)]]
    scene.turn()
    assert scene.phase() is Phase.ALIGNING
    assert scene.health.waiting_for == "the dead-letter topic is missing"
    scene.dead_letters.missing = False
    scene.source.waiting = [[bad_record(VIEWS, 0)]]
    scene.turn()
    assert scene.redis.applied[VIEWS] == 1


def test_revoked_partitions_are_finished_committed_and_forgotten(scene: Scene) -> None:
    scene.begin()
    scene.redis.raise_next = [viral(1)]
    scene.source.waiting = [views(0, FULL)]
    scene.turn()
    assert scene.redis.in_flight
    scene.source.revoke()
    assert scene.redis.applied[VIEWS] == FULL
    # Its request was raised just now and is not sent: the next member does that.
    assert scene.source.commits[-1] == ({VIEWS: 1}, True)
    assert scene.phase() is Phase.UNASSIGNED
    assert scene.progress.applied == {}


def test_lost_partitions_are_not_committed(scene: Scene) -> None:
    scene.begin()
    scene.source.waiting = [views(0, FULL)]
    scene.turn()
    scene.source.revoke(lost=True)
    assert all(not wait for _, wait in scene.source.commits)


def test_a_stop_commits_and_leaves_the_group(scene: Scene) -> None:
    stop = threading.Event()
    scene.source.waiting = [views(0, 2)]

    def each_time() -> None:
        if not scene.source.assigned:
            scene.source.assign(VIEWS, COMMENTS)
        if scene.redis.batches:
            stop.set()
        scene.source.rebalance = each_time

    scene.source.rebalance = each_time
    scene.worker.run(stop)
    assert scene.source.closed
    assert scene.redis.applied[VIEWS] == 2
    assert scene.source.commits[-1][1] is True


def test_work_that_waits_without_moving_becomes_unhealthy(scene: Scene) -> None:
    scene.begin()
    scene.source.high[VIEWS] = 5
    scene.turn(1.1)
    scene.turn(29.0)
    assert scene.health.checks()["progress"]()
    scene.turn(2.0)
    assert not scene.health.checks()["progress"]()
