"""The range of a run: from the last run's offsets to the broker's ends, and nothing that would hide a gap."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from gourmetgram.errors import PermanentError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram.lakehouse.broker import next_offsets, plan_ranges, read_planned
from gourmetgram.lakehouse.progress import EventsProgress, Offsets

HELD = {
    Partition("views", 0): OffsetRange(10, 30),
    Partition("views", 1): OffsetRange(0, 5),
    Partition("flags", 0): OffsetRange(0, 0),
}
TOPICS = ("views", "flags")


def progress(offsets: Offsets, ids: dict[str, str] | None = None) -> EventsProgress:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return EventsProgress(offsets, ids or {}, "run", moment, moment, {}, ())


def plan(before: EventsProgress | None, ids: Mapping[str, str] | None = None) -> dict[Partition, OffsetRange]:
    return plan_ranges(HELD, TOPICS, before, ids or {})


def test_the_first_run_reads_all_that_the_broker_holds() -> None:
    assert plan(None) == HELD


def test_a_later_run_reads_from_the_stored_offsets_and_new_partitions_from_their_beginning() -> None:
    ranges = plan(progress({"views": {0: 25}, "flags": {0: 0}}))
    assert ranges == {**HELD, Partition("views", 0): OffsetRange(25, 30)}
    assert sum(item.records for item in ranges.values()) == 10


def test_topics_that_were_not_asked_for_are_not_read() -> None:
    assert plan_ranges(HELD, ["flags"], None, {}).keys() == {Partition("flags", 0)}


@pytest.mark.parametrize("offset", [10, 30])
def test_offsets_at_either_edge_leave_no_gap(offset: int) -> None:
    assert plan(progress({"views": {0: offset}}))[Partition("views", 0)] == OffsetRange(offset, 30)


REFUSED: dict[str, tuple[Offsets, str]] = {
    "retention": ({"views": {0: 9}}, r"views/0: offsets \[9, 10\) were not read yet and are gone"),
    "a shorter topic": ({"views": {0: 31}}, r"views/0: the stored offset 31 is beyond the topic's end 30"),
    "fewer partitions": ({"views": {0: 10, 2: 7}}, r"views/2: the partition is gone, but offset 7 was stored"),
}


@pytest.mark.parametrize(("stored", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_stored_offsets_that_the_broker_cannot_continue_are_refused_with_a_way_out(stored: Offsets, text: str) -> None:
    with pytest.raises(PermanentError, match=text) as refusal:
        plan(progress(stored))
    assert "Nothing was read" in str(refusal.value)


def test_a_topic_with_another_id_is_refused_even_when_its_offsets_fit() -> None:
    before = progress({"views": {0: 20}}, {"views": "old"})
    with pytest.raises(PermanentError, match=r"its id was old, now it is new.*stored offsets \{0: 20\}"):
        plan(before, {"views": "new"})
    assert plan(before, {"views": "old"}) == plan(before, {})
    assert plan(progress({"views": {0: 20}}), {"views": "new"}) == plan(before, {})


def test_a_missing_topic_is_named_with_the_command_that_creates_it() -> None:
    with pytest.raises(PermanentError, match=r"topic uploads does not exist: .*python -m gourmetgram.topics"):
        plan_ranges(HELD, ["uploads"], None, {})


def test_the_next_run_begins_at_the_ends_and_topics_that_were_not_read_keep_their_offsets() -> None:
    before = progress({"views": {0: 25, 1: 1}, "comments": {3: 4}})
    assert next_offsets(plan(before), before) == {"views": {0: 30, 1: 5}, "flags": {0: 0}, "comments": {3: 4}}
    assert before.offsets["views"] == {0: 25, 1: 1}
    assert next_offsets({}, None) == {}


class LosesRecords:
    """A consumer whose broker deletes a range after its first record."""

    def __init__(self) -> None:
        self._messages = [
            Message("views", 0, 10),
            Message("views", 0, 11, error=KafkaError(KafkaError._AUTO_OFFSET_RESET)),
        ]

    def assign(self, _partitions: list[TopicPartition]) -> None: ...

    def resume(self, _partitions: list[TopicPartition]) -> None: ...

    def unassign(self) -> None: ...

    def consume(self, _most: int, _timeout_s: float) -> list[Message]:
        return [self._messages.pop(0)]


def test_records_that_go_while_they_are_read_are_refused_with_a_way_out() -> None:
    consumer: Any = LosesRecords()
    batches = read_planned(consumer, {Partition("views", 0): OffsetRange(10, 30)})
    assert [message.offset() for message in next(batches)] == [10]
    with pytest.raises(PermanentError, match=r"views/0: .* \[10, 30\) .*\. Nothing was read, so nothing is skipped"):
        next(batches)
