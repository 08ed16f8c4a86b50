"""Waiting for rest: when nothing is under way, and what is said when something does not stop."""

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.kafka.partitions import Partition
from gourmetgram.kafka.ranges import OffsetRange
from gourmetgram_tools.inspection.quiescence import Look, advice, lag, wait_for_rest


def test_lag_counts_what_is_there_and_not_committed() -> None:
    spans = {
        Partition("views", 0): OffsetRange(0, 10),
        Partition("views", 1): OffsetRange(5, 5),
        Partition("views", 2): OffsetRange(4, 9),
        Partition("views", 3): OffsetRange(0, 0),
    }
    assert lag(spans, {}) == 15
    assert lag(spans, {Partition("views", 0): 10, Partition("views", 2): 2}) == 5


def look(end: int, outbox: int = 0) -> Look:
    return Look({Partition("views", 0): OffsetRange(0, end)}, 0, 0, outbox)


def rest(looks: list[Look], deadline: float = float("inf")) -> Look:
    remaining = iter(looks)
    return wait_for_rest(lambda: next(remaining), deadline, lambda _text: None, sleep=lambda _seconds: None)


def test_rest_needs_two_equal_looks_with_nothing_under_way() -> None:
    assert rest([look(1, outbox=1), look(1), look(2), look(3), look(3)]) == look(3)


def test_writes_that_go_on_end_in_advice() -> None:
    assert "Writes go on (3 new in views)" in advice(look(1), look(4))
    assert "--pause-traffic" in advice(look(1), look(4))


def test_something_stuck_ends_in_other_advice() -> None:
    text = advice(look(1, outbox=2), look(1, outbox=2))
    assert "2 in the outbox, consumer 0 behind, scorer 0 behind" in text
    assert "gourmetgram logs" in text


def test_a_store_that_comes_back_is_waited_for() -> None:
    answers: list[Look | TransientError] = [TransientError("away"), look(1), look(1)]

    def ask() -> Look:
        answer = answers.pop(0)
        if isinstance(answer, TransientError):
            raise answer
        return answer

    assert wait_for_rest(ask, float("inf"), lambda _text: None, sleep=lambda _seconds: None) == look(1)
    answers.append(TransientError("away"))
    with pytest.raises(TransientError):
        wait_for_rest(ask, 0, lambda _text: None, sleep=lambda _seconds: None)
