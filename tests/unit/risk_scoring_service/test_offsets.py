"""What may be committed while some requests wait: never beyond one that is open."""

from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition
from risk_scoring_service.offsets import SettledOffsets

TOPIC = "requests"
PARTITION_0, PARTITION_1 = Partition(TOPIC, 0), Partition(TOPIC, 1)


def record(offset: int, partition: int = 0) -> Record:
    return Record(TOPIC, partition, offset, 0, b"")


def test_nothing_is_committed_before_anything_is_settled() -> None:
    offsets = SettledOffsets()
    offsets.read(record(5))
    assert offsets.to_commit() == {PARTITION_0: 5}  # the place of the first record read: harmless, and true


def test_a_request_that_waits_holds_back_the_commit_of_its_partition_only() -> None:
    offsets = SettledOffsets()
    for number in (5, 6, 7):
        offsets.read(record(number))
        offsets.read(record(number, partition=1))
    offsets.settle([record(6), record(7), record(5, 1), record(6, 1), record(7, 1)])
    assert offsets.to_commit() == {PARTITION_0: 5, PARTITION_1: 8}
    offsets.settle([record(5)])
    assert offsets.to_commit()[PARTITION_0] == 8


def test_offsets_are_committed_once() -> None:
    offsets = SettledOffsets()
    offsets.read(record(5))
    offsets.settle([record(5)])
    due = offsets.to_commit()
    assert due == {PARTITION_0: 6}
    # Not confirmed: due again.
    assert offsets.to_commit() == due
    offsets.committed(due)
    assert offsets.to_commit() == {}


def test_gaps_between_offsets_do_not_matter() -> None:
    offsets = SettledOffsets()
    for number in (5, 9, 20):
        offsets.read(record(number))
    offsets.settle([record(5), record(20)])
    assert offsets.to_commit() == {PARTITION_0: 9}


def test_partitions_that_another_replica_reads_are_forgotten() -> None:
    offsets = SettledOffsets()
    offsets.read(record(5))
    offsets.read(record(5, partition=1))
    offsets.settle([record(5), record(5, 1)])
    offsets.forget([PARTITION_0])
    assert offsets.to_commit() == {PARTITION_1: 6}
    # A row stored while the partition changed hands is no reason to commit for its new owner.
    offsets.settle([record(5)])
    assert PARTITION_0 not in offsets.to_commit()


def test_a_partition_that_starts_anew_further_back_is_committed_from_there() -> None:
    offsets = SettledOffsets()
    for number in (9, 5):
        offsets.read(record(number))
    offsets.settle([record(9)])
    assert offsets.to_commit() == {PARTITION_0: 5}


@given(order=st.permutations(range(8)), settled=st.integers(min_value=0, max_value=8))
def test_the_commit_is_the_lowest_open_offset_in_whatever_order_requests_settle(order: list[int], settled: int) -> None:
    offsets = SettledOffsets()
    for number in range(8):
        offsets.read(record(number))
    offsets.settle(record(number) for number in order[:settled])
    open_ones = order[settled:]
    assert offsets.to_commit() == {PARTITION_0: min(open_ones, default=8)}
