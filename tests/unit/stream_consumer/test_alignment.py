"""Where a partition begins, and what its neighbours' unread records hold back."""

from stream_consumer.alignment import decide_start
from stream_consumer.partitions import Progress
from stream_consumer.source import Limits

LIMITS = Limits(low=10, high=50, origin="topic:a")


def test_an_unknown_partition_begins_at_its_first_record():
    assert decide_start(None, None, LIMITS) == (10, None)


def test_a_known_partition_goes_on_where_redis_stands():
    for stored in (10, 33, 50):
        assert decide_start(stored, "topic:a", LIMITS) == (stored, None)


def test_deleted_records_are_skipped_with_a_warning():
    offset, warning = decide_start(4, "topic:a", LIMITS)
    assert offset == 10
    assert "records 4 to 9 were deleted" in warning


def test_a_broker_that_lost_its_last_records_goes_on_at_its_end():
    offset, warning = decide_start(60, "topic:a", LIMITS)
    assert offset == 50
    assert "lost records up to 60" in warning


def test_a_topic_made_anew_begins_at_its_first_record_even_when_it_is_longer_than_before():
    offset, warning = decide_start(33, "topic:b", LIMITS)
    assert offset == 10
    assert "made anew" in warning


def test_ids_of_different_sorts_cannot_tell_a_new_topic():
    assert decide_start(33, "cluster:x", LIMITS) == (33, None)
    assert decide_start(33, None, LIMITS) == (33, None)


def progress() -> Progress:
    found = Progress()
    found.restart(
        {("views", 1): 5, ("flags", 1): 7, ("views", 2): 0}, {("views", 1): 5, ("flags", 1): 9, ("views", 2): 100}
    )
    return found


def nothing_new(_partition: tuple[str, int]) -> int:
    return -1001


def test_an_unread_neighbour_holds_everything_back_until_it_was_read_from():
    found = progress()
    assert found.floor_us(1, nothing_new) == 0
    found.read["flags", 1], found.read_time_us["flags", 1] = 8, 1234
    assert found.floor_us(1, nothing_new) == 1234


def test_nothing_is_held_back_when_all_neighbours_are_read_to_their_ends():
    found = progress()
    found.read["flags", 1] = 9
    assert found.floor_us(1, nothing_new) is None
    # The broker has told of more since.
    found.read_time_us["views", 1] = 77
    assert found.floor_us(1, lambda partition: 6 if partition == ("views", 1) else 0) == 77


def test_co_partitions_have_the_same_number():
    assert progress().co_partitions(1) == [("views", 1), ("flags", 1)]
