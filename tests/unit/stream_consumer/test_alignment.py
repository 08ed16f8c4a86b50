"""Start offsets of partitions, and the check that Redis stands where this process stands."""

from stream_consumer.alignment import Alignment, PartitionLimits, StoredPosition, decide_start
from stream_consumer.continuity import LastRecord
from stream_consumer.progress import StreamProgress
from tests.support.consumer_fakes import FakeRedis, FakeSource
from tests.support.consumer_records import COMMENTS, START_US, VIEWS, record

HOUR = 3_600_000_000
LIMITS = PartitionLimits(low=10, high=50, origin="topic:a")


def at(offset: int | None, origin: str | None = "topic:a") -> StoredPosition:
    return StoredPosition(offset, origin)


def test_an_unknown_partition_begins_at_its_first_record() -> None:
    assert decide_start(at(None, None), LIMITS) == (10, None)


def test_a_known_partition_goes_on_where_redis_stands() -> None:
    for stored in (10, 33, 50):
        assert decide_start(at(stored), LIMITS) == (stored, None)


def test_deleted_records_are_skipped_with_a_warning() -> None:
    offset, warning = decide_start(at(4), LIMITS)
    assert offset == 10
    assert warning is not None and "records 4 to 9 were deleted" in warning


def test_a_broker_that_lost_its_last_records_is_read_again_from_the_cut() -> None:
    offset, warning = decide_start(at(60), LIMITS, cut=40)
    assert offset == 40
    assert warning is not None and "lost records before offset 60" in warning
    assert decide_start(at(60), LIMITS, cut=50).offset == 50
    # The log has grown past the offset in Redis.
    assert decide_start(at(33), LIMITS, cut=30).offset == 30
    assert decide_start(at(33), LIMITS, cut=40).offset == 33
    assert decide_start(at(33), LIMITS, cut=0).offset == 10


def test_a_topic_made_anew_begins_at_its_first_record_even_when_it_is_longer_than_before() -> None:
    offset, warning = decide_start(at(33, "topic:b"), LIMITS)
    assert offset == 10
    assert warning is not None and "created again" in warning


def test_an_offset_that_was_deleted_in_redis_is_taken_from_the_groups_commits() -> None:
    offset, warning = decide_start(at(None), LIMITS, committed=33)
    assert offset == 33
    assert warning is not None and "was deleted in Redis" in warning
    # The state is from before the broker's first record.
    assert decide_start(at(None), LIMITS, committed=4).offset == 10
    # Another topic of the same name: its commits mean nothing.
    assert decide_start(at(None, "topic:b"), LIMITS, committed=33).offset == 10
    # Without a commit, the beginning is all there is.
    assert decide_start(at(None), LIMITS, committed=None).offset == 10


def test_ids_of_different_sorts_cannot_tell_a_new_topic() -> None:
    assert decide_start(at(33, "cluster:x"), LIMITS) == (33, None)
    assert decide_start(at(33, None), LIMITS) == (33, None)


class Scene:
    """An alignment on fakes. The log of views has ten records, one a minute; Redis has applied eight."""

    def __init__(self) -> None:
        self.source, self.redis, self.progress = FakeSource({VIEWS: 10, COMMENTS: 0}), FakeRedis(), StreamProgress()
        self.source.assigned = (VIEWS, COMMENTS)
        self.now_us = START_US + HOUR
        self.log(10)
        self.redis.applied, self.redis.named = {VIEWS: 8, COMMENTS: 0}, {VIEWS: "topic:a", COMMENTS: "topic:a"}
        self.redis.last = {VIEWS: LastRecord.of(self.source.log[VIEWS][7])}
        source = self.source
        self.alignment = Alignment(source, source, source, self.redis, self.progress, 24 * HOUR, lambda: self.now_us)

    def log(self, number: int, from_offset: int = 0, later_us: int = 0) -> None:
        """Write the log again from an offset on; the new records are `later_us` later than they were."""
        held = self.source.log.setdefault(VIEWS, {})
        for offset in [offset for offset in held if offset >= from_offset]:
            del held[offset]
        for offset in range(from_offset, number):
            held[offset] = record(VIEWS, offset, time_us=START_US + offset * 60_000_000 + later_us)
        self.source.high[VIEWS] = number

    def aligned(self) -> int:
        self.alignment.align()
        self.alignment.begin()
        assert self.source.started[-1] == self.redis.applied == self.progress.applied == self.progress.read
        return self.progress.applied[VIEWS]


def test_reading_begins_where_redis_stands_and_new_partitions_are_written_to_redis() -> None:
    scene = Scene()
    del scene.redis.applied[COMMENTS], scene.redis.named[COMMENTS]
    assert scene.aligned() == 8
    assert scene.redis.applied == {VIEWS: 8, COMMENTS: 0}
    assert scene.redis.named == {VIEWS: "topic:a", COMMENTS: "topic:a"}
    assert scene.progress.ends == {VIEWS: 10, COMMENTS: 0}
    assert scene.progress.unread_since_us == {VIEWS: START_US + 8 * 60_000_000}


def test_a_log_that_was_cut_and_filled_again_is_read_again_from_the_cut() -> None:
    scene = Scene()
    scene.log(12, from_offset=5, later_us=2 * HOUR)
    scene.now_us += 24 * HOUR
    # The records before the cut may be forgotten, so reading starts exactly at the cut.
    assert scene.aligned() == 5


def test_a_cut_within_the_memory_of_ids_is_read_again_with_an_hour_more() -> None:
    scene = Scene()
    scene.redis.last = {VIEWS: LastRecord(7, START_US + HOUR + 2 * 60_000_000, "another record")}
    scene.now_us += HOUR
    assert scene.aligned() == 2


def test_a_log_that_ends_before_the_offset_in_redis_is_read_again_too() -> None:
    scene = Scene()
    scene.log(6)
    scene.now_us += 24 * HOUR
    assert scene.aligned() == 6
    scene = Scene()
    scene.log(6)
    scene.redis.last = {}
    # Without the last record, all is read again whose ids are remembered.
    assert scene.aligned() == 0


def test_the_state_of_an_older_version_is_accepted_once() -> None:
    scene = Scene()
    scene.redis.last = {}
    assert scene.aligned() == 8
    scene.redis.last = {VIEWS: LastRecord(3, START_US, "of a version that went back and forth")}
    assert scene.aligned() == 8


def test_a_last_record_that_retention_deleted_is_no_loss() -> None:
    scene = Scene()
    for offset in range(8):
        del scene.source.log[VIEWS][offset]
    assert scene.aligned() == 8


def test_commits_are_asked_for_deleted_offsets_only() -> None:
    scene = Scene()
    scene.source.group = {VIEWS: 7, COMMENTS: 2}
    scene.redis.applied, scene.redis.named = {}, {VIEWS: "topic:a"}
    # An emptied Redis has no origin, either: its state is built again from the beginning.
    assert scene.aligned() == 7
    assert scene.redis.applied == {VIEWS: 7, COMMENTS: 0}


def test_a_redis_that_was_set_back_is_noticed() -> None:
    scene = Scene()
    scene.aligned()
    assert scene.alignment.holds()
    scene.redis.applied[VIEWS] = 3
    assert not scene.alignment.holds()


def test_without_partitions_redis_is_only_pinged() -> None:
    scene = Scene()
    assert scene.alignment.holds()
    assert scene.redis.calls == ["ping"]
