"""The scorer's loop with servers in memory: what is read, settled, committed and forgotten, and when."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from gourmetgram.errors import PlatformError, TransientError
from gourmetgram.events import BadMessage, ModerationRequest, Record
from gourmetgram.kafka.dead_letters import RejectedRecord
from gourmetgram.kafka.partitions import Partition
from gourmetgram.observability import ProgressWatch
from risk_scoring_service import worker as module
from risk_scoring_service.decide import RiskModel
from risk_scoring_service.handlers import BatchOutcome, Waiting
from risk_scoring_service.store import ServerError
from risk_scoring_service.worker import Worker

TOPIC = "requests"
FIRST, SECOND = Partition(TOPIC, 0), Partition(TOPIC, 1)
BATCH = 10


def record(offset: int, partition: Partition = FIRST, value: bytes = b"good") -> Record:
    return Record(*partition, offset, 0, value)


class FakeSource:
    """A partition's records as librdkafka delivers them.

    A fetch takes a while: it arrives only in a poll that waits, while the partition is not paused. What a pause finds
    fetched is dropped.
    """

    connected = True

    def __init__(self) -> None:
        self.waiting: list[Record] = []
        self.paused = False
        self.refuses_commits = False
        self.closed = False
        self.committed: dict[Partition, int] = {}
        self.polls: list[float] = []
        self.lose: Callable[[Iterable[Partition]], None] = lambda _partitions: None

    def subscribe(self, on_lost: Callable[[Iterable[Partition]], None]) -> None:
        self.lose = on_lost

    def poll(self, most: int, timeout_s: float) -> list[Record]:
        self.polls.append(timeout_s)
        if self.paused or timeout_s <= 0:
            return []
        arrived, self.waiting = self.waiting[:most], self.waiting[most:]
        return arrived

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        if self.refuses_commits:
            raise TransientError("the coordinator moves")
        self.committed.update(next_offsets)

    def close(self) -> None:
        self.closed = True


class Clock:
    """Monotonic time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class FakeHandler:
    """Decides every request at once, while PostgreSQL is there; `b"bad"` is malformed, `b"unknown"` waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.away = False
        self.decided: list[int] = []
        self.batches: list[int] = []

    def read(self, record: Record) -> Waiting | BadMessage:
        if record.value == b"bad":
            return BadMessage("not JSON")
        return Waiting(record, ModerationRequest(str(record.offset), "image", "viral", 0, {}))

    def handle(self, batch: Sequence[Waiting], _model: RiskModel | None) -> BatchOutcome:
        self.batches.append(len(batch))
        if self.away:
            raise ServerError("postgres", ConnectionError("refused"))
        outcome = BatchOutcome()
        for item in batch:
            if item.record.value == b"unknown":
                item.due = self._clock() + 3_600
            elif item.record.value == b"poisonous":
                outcome.dead.append(RejectedRecord(item.record, BadMessage("refused by PostgreSQL")))
            else:
                outcome.settled.append(item.record)
        self.decided += [item.offset for item in outcome.settled]
        return outcome


class FakeDeadLetters:
    """The dead-letter topic, while it is there."""

    def __init__(self) -> None:
        self.missing = False
        self.published: list[int] = []
        self.settled: list[int] = []
        self.forgotten: set[Partition] = set()

    def publish(self, rejected: Sequence[RejectedRecord]) -> None:
        if self.missing:
            raise TransientError("the dead-letter topic is missing")
        self.published += [item.record.offset for item in rejected]

    def settle(self, records: Iterable[Record]) -> None:
        self.settled += [record.offset for record in records]

    def forget(self, partitions: Iterable[Partition]) -> None:
        self.forgotten |= set(partitions)


class Scorer:
    """A worker among fakes, and a look into it after each round."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.source, self.handler, self.dead_letters = FakeSource(), FakeHandler(self.clock), FakeDeadLetters()
        self.pings = 0
        self.postgres_pings = True
        self.worker = Worker(
            self.source,
            self.handler,
            self.dead_letters,
            self._ping,
            lambda: None,
            BATCH,
            ProgressWatch(60),
            self.clock,
        )
        # `run` does it at its start and then loops.
        self.stop = threading.Event()
        self.stop.set()
        self.worker.run(self.stop)

    def _ping(self) -> None:
        self.pings += 1
        if not self.postgres_pings:
            raise ServerError("postgres", ConnectionError("refused"))

    def send(self, *records: Record) -> None:
        self.source.waiting += records

    def rounds(self, number: int) -> None:
        for _ in range(number):
            self.worker.step()

    def wait_out_pause(self) -> None:
        self.clock.now += module.LONGEST_PAUSE_S


@pytest.fixture
def scorer() -> Scorer:
    return Scorer()


def test_an_offset_is_committed_once_its_request_is_decided(scorer: Scorer) -> None:
    scorer.send(record(5), record(6), record(3, SECOND))
    scorer.rounds(1)
    assert scorer.handler.decided == [5, 6, 3]
    assert scorer.source.committed == {FIRST: 7, SECOND: 4}


def test_no_commit_passes_a_request_that_waits_while_later_ones_are_decided(scorer: Scorer) -> None:
    scorer.send(record(5), record(6, value=b"unknown"), record(7), record(3, SECOND))
    scorer.rounds(2)
    assert scorer.handler.decided == [5, 7, 3]
    assert scorer.source.committed == {FIRST: 6, SECOND: 4}


@pytest.mark.parametrize("value", [b"bad", b"poisonous"])
def test_no_commit_passes_a_dead_letter_that_the_broker_has_not_confirmed(scorer: Scorer, value: bytes) -> None:
    scorer.dead_letters.missing = True
    scorer.send(record(5), record(6, value=value), record(7))
    scorer.rounds(1)
    assert scorer.handler.decided == [5, 7]
    assert scorer.source.committed.get(FIRST, 0) <= 6
    assert scorer.worker.waiting_for == "the dead-letter topic is missing"
    scorer.dead_letters.missing = False
    scorer.wait_out_pause()
    scorer.rounds(1)
    assert scorer.dead_letters.published == scorer.dead_letters.settled == [6]
    assert scorer.source.committed == {FIRST: 8}
    assert scorer.worker.waiting_for is None


def test_a_commit_that_fails_is_repeated_and_nothing_is_decided_twice(scorer: Scorer) -> None:
    scorer.source.refuses_commits = True
    scorer.send(record(5))
    scorer.rounds(1)
    assert scorer.source.committed == {}
    assert scorer.worker.waiting_for == "the coordinator moves"
    scorer.source.refuses_commits = False
    scorer.wait_out_pause()
    scorer.rounds(1)
    assert scorer.source.committed == {FIRST: 6}
    assert scorer.handler.decided == [5]


def test_offsets_are_committed_once(scorer: Scorer) -> None:
    scorer.send(record(5))
    scorer.rounds(1)
    scorer.source.committed.clear()
    scorer.rounds(3)
    assert scorer.source.committed == {}


def test_partitions_that_are_lost_are_forgotten_with_all_that_waits_of_them(scorer: Scorer) -> None:
    scorer.dead_letters.missing = True
    scorer.send(
        record(5, value=b"unknown"),
        record(6, value=b"bad"),
        record(8, SECOND, value=b"bad"),
        record(9, SECOND, value=b"unknown"),
    )
    scorer.rounds(1)
    scorer.source.lose([FIRST])
    scorer.dead_letters.missing = False
    scorer.wait_out_pause()
    scorer.rounds(1)
    assert scorer.dead_letters.published == [8]
    assert scorer.dead_letters.forgotten == {FIRST}
    assert scorer.source.committed == {SECOND: 9}


def test_a_partition_that_comes_back_is_read_and_committed_from_where_the_group_stands(scorer: Scorer) -> None:
    scorer.send(record(5), record(6, value=b"unknown"))
    scorer.rounds(1)
    scorer.source.lose([FIRST])
    scorer.send(record(6), record(7))
    scorer.rounds(1)
    assert scorer.handler.decided == [5, 6, 7]
    assert scorer.source.committed == {FIRST: 8}


def test_requests_are_read_and_decided_while_only_the_dead_letter_topic_refuses(scorer: Scorer) -> None:
    scorer.dead_letters.missing = True
    scorer.send(record(5, value=b"bad"))
    scorer.rounds(1)
    scorer.send(record(6), record(7))
    # A paused partition would drop what it has fetched, and the next fetch needs a poll that waits: so neither a pause
    # nor a round between two pauses, which waits for nothing while dead letters are due, may keep the records away.
    for _ in range(5):
        scorer.rounds(1)
        scorer.wait_out_pause()
        scorer.rounds(1)
    assert scorer.handler.decided == [6, 7]
    assert scorer.source.committed.get(FIRST, 0) <= 5
    assert scorer.dead_letters.published == []


def test_nothing_more_is_read_while_postgresql_is_away(scorer: Scorer) -> None:
    scorer.handler.away = True
    scorer.send(record(5))
    scorer.rounds(1)
    assert not scorer.worker.postgres_healthy()
    scorer.send(record(6))
    scorer.rounds(1)
    assert scorer.source.paused
    assert scorer.source.waiting == [record(6)]
    assert scorer.source.committed.get(FIRST, 5) == 5
    scorer.handler.away = False
    scorer.wait_out_pause()
    # Pending requests are decided first; then reading goes on.
    scorer.rounds(2)
    assert scorer.handler.decided == [5, 6]
    assert scorer.worker.postgres_healthy()
    assert scorer.source.committed == {FIRST: 7}


def test_a_round_during_the_pause_tries_nothing_and_pauses_grow_up_to_a_limit(scorer: Scorer) -> None:
    scorer.handler.away = True
    scorer.send(record(5))
    scorer.rounds(4)
    assert scorer.handler.batches == [1]
    attempts = []
    for _ in range(400):
        scorer.clock.now += 0.05
        scorer.rounds(1)
        attempts.append(len(scorer.handler.batches))
    # Doubling from 0.1 s up to 2 s: some 14 attempts in 20 s instead of 200.
    assert 10 <= attempts[-1] <= 16


def test_nothing_more_is_read_while_too_much_waits(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    scorer.send(*(record(offset, value=b"unknown") for offset in range(3)))
    scorer.rounds(1)
    scorer.send(record(3))
    scorer.rounds(3)
    assert scorer.source.paused
    assert scorer.handler.decided == []


def test_dead_letters_count_as_waiting_so_that_a_broken_topic_does_not_fill_the_memory(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    scorer.dead_letters.missing = True
    scorer.send(*(record(offset, value=b"bad") for offset in range(3)))
    scorer.rounds(2)
    assert scorer.source.paused


def test_the_oldest_unanswered_request_has_an_age_until_it_is_answered(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risk_scoring_service.worker.now_us", lambda: 90_000_000)
    assert scorer.worker.oldest_age_s() == 0
    scorer.handler.away = True
    scorer.source.waiting = [Record("moderation", 0, offset, (30 + offset) * 1_000_000, b"{}") for offset in range(3)]
    scorer.worker.step()
    assert scorer.worker.oldest_age_s() == 60
    scorer.handler.away = False
    scorer.clock.now += 10
    scorer.worker.step()
    assert scorer.worker.oldest_age_s() == 0


def test_work_is_handled_in_batches_and_in_the_order_of_arrival(scorer: Scorer) -> None:
    scorer.send(*(record(offset) for offset in range(2 * BATCH + 5)))
    scorer.rounds(6)
    assert scorer.handler.decided == list(range(2 * BATCH + 5))
    assert max(scorer.handler.batches) == BATCH


def test_a_poll_does_not_wait_while_something_is_to_be_committed(scorer: Scorer) -> None:
    scorer.source.refuses_commits = True
    scorer.send(record(5))
    scorer.rounds(1)
    scorer.wait_out_pause()
    scorer.rounds(1)
    assert scorer.source.polls[-1] == 0.0


def test_an_idle_scorer_asks_now_and_then_for_postgresql(scorer: Scorer) -> None:
    assert not scorer.worker.postgres_healthy()
    scorer.rounds(3)
    assert scorer.pings == 1
    assert scorer.worker.postgres_healthy()
    scorer.clock.now += module.PING_AFTER_S + 0.1
    scorer.postgres_pings = False
    scorer.rounds(1)
    assert not scorer.worker.postgres_healthy()
    assert scorer.source.paused is False
    scorer.rounds(1)
    assert scorer.source.paused is True


def test_the_group_is_left_whatever_ends_the_loop(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scorer.source.closed
    scorer.source.closed = False

    def broken(_most: int, _timeout_s: float) -> list[Record]:
        raise PlatformError("the brokers are forgotten")

    monkeypatch.setattr(scorer.source, "poll", broken)
    scorer.stop.clear()
    with pytest.raises(PlatformError):
        scorer.worker.run(scorer.stop)
    assert scorer.source.closed
