"""Start offsets of partitions, and the check that Redis stands where this process stands."""

from collections.abc import Mapping, Sequence

from gourmetgram.kafka.partitions import Partition
from stream_consumer.alignment import Alignment, PartitionLimits, decide_start
from stream_consumer.progress import StreamProgress

LIMITS = PartitionLimits(low=10, high=50, origin="topic:a")


def test_an_unknown_partition_begins_at_its_first_record() -> None:
    assert decide_start(None, None, LIMITS) == (10, None)


def test_a_known_partition_goes_on_where_redis_stands() -> None:
    for stored in (10, 33, 50):
        assert decide_start(stored, "topic:a", LIMITS) == (stored, None)


def test_deleted_records_are_skipped_with_a_warning() -> None:
    offset, warning = decide_start(4, "topic:a", LIMITS)
    assert offset == 10
    assert warning is not None and "records 4 to 9 were deleted" in warning


def test_a_broker_that_lost_its_last_records_goes_on_at_its_end() -> None:
    offset, warning = decide_start(60, "topic:a", LIMITS)
    assert offset == 50
    assert warning is not None and "lost records up to 60" in warning


def test_a_topic_made_anew_begins_at_its_first_record_even_when_it_is_longer_than_before() -> None:
    offset, warning = decide_start(33, "topic:b", LIMITS)
    assert offset == 10
    assert warning is not None and "created again" in warning


def test_an_offset_that_was_deleted_in_redis_is_taken_from_the_groups_commits() -> None:
    offset, warning = decide_start(None, "topic:a", LIMITS, committed=33)
    assert offset == 33
    assert warning is not None and "was deleted in Redis" in warning
    # The state is from before the broker's first record.
    assert decide_start(None, "topic:a", LIMITS, committed=4).offset == 10
    # Another topic of the same name: its commits mean nothing.
    assert decide_start(None, "topic:b", LIMITS, committed=33).offset == 10
    # Without a commit, the beginning is all there is.
    assert decide_start(None, "topic:a", LIMITS, committed=None).offset == 10


def test_ids_of_different_sorts_cannot_tell_a_new_topic() -> None:
    assert decide_start(33, "cluster:x", LIMITS) == (33, None)
    assert decide_start(33, None, LIMITS) == (33, None)


VIEWS, FLAGS = Partition("views", 0), Partition("flags", 0)


class FakeSource:
    def __init__(self, limits: Mapping[Partition, PartitionLimits]) -> None:
        self.assigned = tuple(limits)
        self._limits = limits
        self.started: dict[Partition, int] = {}
        self.commits: dict[Partition, int | None] = {}

    def committed(self, of: Sequence[Partition]) -> dict[Partition, int | None]:
        return {partition: self.commits.get(partition) for partition in of}

    def limits(self, of: Sequence[Partition]) -> dict[Partition, PartitionLimits]:
        return {partition: self._limits[partition] for partition in of}

    def read_from(self, starts: Mapping[Partition, int]) -> None:
        self.started = dict(starts)


class FakeOffsets:
    def __init__(self, offsets: dict[Partition, int], origins: dict[Partition, str]) -> None:
        self.stored, self.named = offsets, origins
        self.pings = 0

    def tune(self) -> None:
        pass

    def ping(self) -> None:
        self.pings += 1

    def offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        return {partition: self.stored.get(partition) for partition in partitions}

    def origins(self, partitions: Sequence[Partition]) -> dict[Partition, str | None]:
        return {partition: self.named.get(partition) for partition in partitions}

    def start(self, offsets: Mapping[Partition, int], origins: Mapping[Partition, str]) -> None:
        self.stored.update(offsets)
        self.named.update(origins)


def test_reading_begins_where_redis_stands_and_new_partitions_are_written_to_redis() -> None:
    source = FakeSource({VIEWS: LIMITS, FLAGS: PartitionLimits(0, 3, "topic:f")})
    offsets, progress = FakeOffsets({VIEWS: 33}, {VIEWS: "topic:a"}), StreamProgress()
    Alignment(source, source, offsets, progress).align()
    assert source.started == offsets.stored == {VIEWS: 33, FLAGS: 0}
    assert offsets.named == {VIEWS: "topic:a", FLAGS: "topic:f"}
    assert progress.applied == progress.read == {VIEWS: 33, FLAGS: 0}
    assert progress.ends == {VIEWS: 50, FLAGS: 3}


def test_commits_are_asked_for_deleted_offsets_only() -> None:
    source = FakeSource({VIEWS: LIMITS, FLAGS: PartitionLimits(0, 3, "topic:f")})
    source.commits = {VIEWS: 40, FLAGS: 2}
    offsets = FakeOffsets({}, {VIEWS: "topic:a"})
    Alignment(source, source, offsets, StreamProgress()).align()
    # An emptied Redis has no origin, either: its state is built again from the beginning.
    assert source.started == offsets.stored == {VIEWS: 40, FLAGS: 0}


def test_a_redis_that_was_set_back_is_noticed() -> None:
    offsets = FakeOffsets({VIEWS: 33}, {VIEWS: "topic:a"})
    source = FakeSource({VIEWS: LIMITS})
    alignment = Alignment(source, source, offsets, StreamProgress())
    alignment.align()
    assert alignment.holds()
    offsets.stored[VIEWS] = 30
    assert not alignment.holds()


def test_without_partitions_redis_is_only_pinged() -> None:
    offsets = FakeOffsets({}, {})
    source = FakeSource({})
    assert Alignment(source, source, offsets, StreamProgress()).holds()
    assert offsets.pings == 1
