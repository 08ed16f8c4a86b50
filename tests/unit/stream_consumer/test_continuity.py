"""The last applied record: its text in Redis, and the time from which a log is read again."""

import pytest

from gourmetgram.kafka.continuity import fingerprint
from stream_consumer.continuity import LastRecord, read_again_from_us
from tests.support.consumer_records import START_US, VIEWS, record

HOUR = 3_600_000_000


def test_a_last_record_is_read_as_it_was_written() -> None:
    last = LastRecord.of(record(VIEWS, 7))
    assert last[:2] == (7, START_US)
    assert LastRecord.parse(str(last).encode()) == last


@pytest.mark.parametrize("text", [b"", b"7", b"7 x y", b"\xff \xff \xff", b"1 2 3 4"])
def test_another_text_is_no_last_record(text: bytes) -> None:
    assert LastRecord.parse(text) is None


def test_records_that_differ_in_one_field_have_different_fingerprints() -> None:
    fields = (7, 1_763_700_000_000, b"key", b"value")
    others = [(8, *fields[1:]), (7, 1, *fields[2:]), (*fields[:2], b"keyv", b"alue"), (*fields[:3], None)]
    assert len({fingerprint(*each) for each in (fields, *others)}) == 5


def test_a_log_is_read_again_from_an_hour_before_if_all_ids_of_it_are_remembered() -> None:
    last = LastRecord(7, START_US, "")
    assert read_again_from_us(last, START_US - 24 * HOUR) == START_US - HOUR
    assert read_again_from_us(last, START_US - HOUR // 2) == START_US - HOUR // 2
    # Whole milliseconds, as the broker has them.
    assert read_again_from_us(last, START_US + HOUR) == START_US + 1_000
    assert read_again_from_us(None, START_US) == START_US
