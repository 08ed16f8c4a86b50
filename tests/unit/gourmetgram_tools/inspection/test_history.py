"""What the event topics say, read into a history: copies, bad messages, hand-made events, misplaced records."""

import json
import uuid

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.events import Record
from gourmetgram_tools.inspection.history import History
from gourmetgram_tools.inspection.kafka_reading import Keyed, Range, partition_of
from gourmetgram_tools.inspection.quiescence import Look, advice, lag, wait_for_rest
from gourmetgram_tools.inspection.requests import Requests, dead_letter_of

IMAGE = "11111111-1111-4111-8111-111111111111"
HOME = partition_of(IMAGE, 4)
BROKER_US = 1_800_000_000_000_000


def keyed(offset: int = 0, key: str | None = IMAGE, partition: int = HOME, topic: str = "views", **message) -> Keyed:
    fields = {
        "event_type": "view",
        "event_id": str(uuid.UUID(int=offset + 1, version=4)),
        "image_id": IMAGE,
        "viewed_at": "2027-01-15T08:00:00+00:00",
        **message,
    }
    value = json.dumps({name: field for name, field in fields.items() if field is not None}).encode()
    return Keyed(key.encode() if key else None, Record(topic, partition, offset, BROKER_US, value))


def test_the_partition_of_a_key_is_that_of_java_s_murmur2():
    # The client library's own partitioner of kafka-python gives 3 for this key and four partitions.
    assert partition_of("abc", 4) == 3


def test_a_copy_is_counted_once_and_remembered():
    history = History.of([keyed(0), keyed(0), keyed(1)], 4)
    assert history.events["view"] == 2
    assert history.copies == [str(uuid.UUID(int=1, version=4))]
    assert [event.offset for event in history.images[IMAGE].accepted["view"]] == [0, 1]


def test_an_event_of_an_ineligible_actor_is_an_event_but_counts_for_nothing():
    history = History.of([keyed(0, actor_eligible=False)], 4)
    assert history.images[IMAGE].api_views == 1
    assert len(history.images[IMAGE].accepted["view"]) == 0


def test_a_simulated_view_moves_no_counter_of_the_api():
    history = History.of([keyed(0, viewed_at=None, event_id=None, timestamp=1.0, user_id="sim-user-3")], 4)
    assert history.images[IMAGE].api_views == 0
    assert len(history.images[IMAGE].accepted["view"]) == 1
    assert len(history.by_hand) == 1


def test_a_bad_message_is_kept_with_its_place_and_reason():
    history = History.of([Keyed(None, Record("views", 2, 7, BROKER_US, b"[]"))], 4)
    ((topic, partition, offset, error),) = history.bad
    assert (topic, partition, offset) == ("views", 2, 7)
    assert "not a JSON object" in error
    assert history.images == {}


def test_records_outside_their_partition_make_the_order_undefined():
    history = History.of([keyed(5, partition=(HOME + 1) % 4)], 4)
    assert history.misplaced == [f"views/{(HOME + 1) % 4}@5"]
    assert history.images[IMAGE].scattered


def test_an_unkeyed_record_is_noted_and_harmless_in_its_own_partition():
    history = History.of([keyed(0, key=None)], 4)
    assert (history.misplaced, len(history.unkeyed)) == ([], 1)
    assert not history.images[IMAGE].scattered


def test_requests_are_read_once_and_a_changed_copy_is_found():
    request = {"request_id": str(uuid.uuid4()), "image_id": IMAGE, "trigger": "viral", "timestamp": 1.0}

    def record(offset: int, **changes) -> Keyed:
        return Keyed(None, Record("requests", 0, offset, 5, json.dumps(request | changes).encode()))

    requests = Requests.of([record(0), record(1)])
    assert (len(requests.by_id), requests.copies, requests.differing) == (1, 1, [])
    assert Requests.of([record(0), record(1, timestamp=2.0)]).differing == [request["request_id"]]
    assert Requests.of([Keyed(None, Record("requests", 3, 9, 5, b"x"))]).bad[0][:3] == ("requests", 3, 9)


def test_a_message_that_is_no_dead_letter_is_none():
    for value in (None, b"", b"[]", b"{}", b'{"topic": "x"}', b"\xff"):
        assert dead_letter_of(value) is None


def test_lag_counts_what_is_there_and_not_committed():
    spans = {
        ("views", 0): Range(0, 10),
        ("views", 1): Range(5, 5),
        ("views", 2): Range(4, 9),
        ("views", 3): Range(0, 0),
    }
    assert lag(spans, {}) == 15
    assert lag(spans, {("views", 0): 10, ("views", 2): 2}) == 5


def look(end: int, outbox: int = 0) -> Look:
    return Look({("views", 0): Range(0, end)}, 0, 0, outbox)


def rest(looks: list[Look], deadline: float = float("inf")) -> Look:
    remaining = iter(looks)
    return wait_for_rest(lambda: next(remaining), deadline, lambda _text: None, sleep=lambda _seconds: None)


def test_rest_needs_two_equal_looks_with_nothing_under_way():
    assert rest([look(1, outbox=1), look(1), look(2), look(3), look(3)]) == look(3)


def test_writes_that_go_on_end_in_advice():
    assert "Writes go on (3 new in views)" in advice(look(1), look(4))
    assert "--pause-traffic" in advice(look(1), look(4))


def test_something_stuck_ends_in_other_advice():
    text = advice(look(1, outbox=2), look(1, outbox=2))
    assert "2 in the outbox, consumer 0 behind, scorer 0 behind" in text
    assert "gourmetgram logs" in text


def test_a_store_that_comes_back_is_waited_for():
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
