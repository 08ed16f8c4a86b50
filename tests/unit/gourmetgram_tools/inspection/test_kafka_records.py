"""Records of Kafka as tables: copies, bad messages, hand-made events, misplaced records, requests, dead letters."""

import json
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from gourmetgram.events import Event, Record, parse_event
from gourmetgram_tools.inspection.checks import take_notes
from gourmetgram_tools.inspection.kafka_reading import Keyed, partition_of
from gourmetgram_tools.inspection.kafka_records import letter_of
from tests.support.hand_made_stores import HOME, IMAGE, KINDS, T0_US, checked, hand_made_stores, keyed

IMAGES = [str(uuid.UUID(int=number, version=4)) for number in range(3)]


def notes_of(*records: Keyed) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Number and examples of each note about these events, by the beginning of its name."""
    with hand_made_stores(records) as tables:
        return {note.name[:30].rstrip(): (note.count, note.examples) for note in take_notes(tables)}


def event_id(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


def test_the_partition_of_a_key_is_that_of_java_s_murmur2() -> None:
    # The client library's own partitioner of kafka-python gives 3 for this key and four partitions.
    assert partition_of("abc", 4) == 3


def test_a_copy_is_counted_once_and_remembered() -> None:
    with hand_made_stores([keyed(0), keyed(1, event_id=event_id(1)), keyed(2)]) as tables:
        assert tables.rows("SELECT count(*) FROM events WHERE kind = 'view'") == [(2,)]
        assert tables.rows("SELECT event_id::VARCHAR FROM copies") == [(event_id(1),)]
        assert tables.rows('SELECT "offset" FROM counted ORDER BY number') == [(0,), (2,)]


def test_an_event_of_an_ineligible_actor_is_an_event_but_counts_for_nothing() -> None:
    message = keyed(0, actor_eligible=False, viewed_at="2027-01-15T08:00:00+00:00")
    with hand_made_stores([message], fill={"images": [(IMAGE, None, "user_upload", T0_US, None, 1, True)]}) as tables:
        assert (checked(tables, "views").expected, checked(tables, "views").actual) == (1, 1)
        assert tables.rows("SELECT count(*) FROM counted") == [(0,)]


def test_a_simulated_view_moves_no_counter_of_the_api() -> None:
    with hand_made_stores([keyed(0, event_id=None, user_id="sim-user-3")]) as tables:
        assert checked(tables, "views").actual == 0
        assert tables.rows("SELECT count(*) FROM counted") == [(1,)]
        assert "events that no service wrote: simulated or typed in" in [note.name for note in take_notes(tables)]


def test_a_bad_message_is_kept_with_its_place() -> None:
    with hand_made_stores([Keyed(None, Record("views", 2, 7, T0_US, b"[]"))]) as tables:
        assert tables.rows("FROM bad_records") == [("views", 2, 7, T0_US)]
        assert tables.rows("FROM records") == []
        assert checked(tables, "bad messages").differences == ("views/2@7 cannot be read and has no dead letter",)


def test_records_outside_their_partition_make_the_order_undefined() -> None:
    elsewhere = (HOME + 1) % 4
    with hand_made_stores([keyed(5, partition=elsewhere)]) as tables:
        assert checked(tables, "partitions").differences == (
            f"record views/{elsewhere}@5 is not in the partition of its key",
        )
        assert tables.rows("SELECT scattered FROM seen_images") == [(True,)]


def test_an_unkeyed_record_is_noted_and_harmless_in_its_own_partition() -> None:
    with hand_made_stores([keyed(0, key=None)]) as tables:
        assert checked(tables, "partitions").ok
        assert tables.rows("SELECT scattered FROM seen_images") == [(False,)]
    assert notes_of(keyed(0, key=None))["records without their image's"] == (1, (event_id(1),))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 6), st.booleans()), max_size=30))
def test_events_are_grouped_as_objects_would_be(draws: list[tuple[str, int, int, bool]]) -> None:
    records = [
        keyed(offset, kind=kind, image_id=IMAGES[image], event_id=event_id(number + 1), actor_eligible=eligible,
              delay_us=offset)
        for offset, (kind, image, number, eligible) in enumerate(draws)
    ]  # fmt: skip
    seen: set[str] = set()
    expected: dict[tuple[str, str], list[int]] = {}
    for _, record in records:
        event = parse_event(record)
        assert isinstance(event, Event)
        if event.event_id not in seen and event.actor_eligible:
            expected.setdefault((event.image_id, event.kind), []).append(record.offset)
        seen.add(event.event_id)
    with hand_made_stores(records) as tables:
        grouped = 'SELECT image_id::VARCHAR, kind, list("offset" ORDER BY number) FROM counted GROUP BY ALL'
        assert {(image_id, kind): offsets for image_id, kind, offsets in tables.rows(grouped)} == expected
        assert tables.rows("SELECT count(*) FROM events") == [(len(seen),)]
        assert tables.rows("SELECT count(*) FROM copies") == [(len(records) - len(seen),)]


def test_a_counted_event_is_what_its_record_said() -> None:
    with hand_made_stores([keyed(7, seconds=1.5), keyed(9, seconds=0, delay_us=5)]) as tables:
        columns = 'topic, "offset", time_us, broker_us, event_id::VARCHAR'
        assert tables.rows(f"SELECT {columns} FROM counted ORDER BY number") == [
            ("views", 7, T0_US + 1_500_000, T0_US + 1_510_000, event_id(8)),
            ("views", 9, T0_US, T0_US + 5, event_id(10)),
        ]


def request_record(offset: int, **changes: object) -> Keyed:
    request = {"request_id": event_id(99), "image_id": IMAGE, "trigger": "viral", "timestamp": 1.0, **changes}
    return Keyed(None, Record("requests", 0, offset, 5, json.dumps(request).encode()))


def test_requests_are_read_once_and_a_changed_copy_is_found() -> None:
    with hand_made_stores(requests=[request_record(0), request_record(1)]) as tables:
        assert tables.rows("SELECT count(*) FROM requests") == [(1,)]
        copies = checked(tables, "request copies")
        assert (copies.expected, copies.actual, copies.differences) == (1, 1, ())
    for changes in ({"timestamp": 2.0}, {"trigger": "x"}, {"context": {"views_5min": 1}}):
        with hand_made_stores(requests=[request_record(0), request_record(1, **changes)]) as tables:
            assert checked(tables, "request copies").differences == (
                f"request {event_id(99)} was sent again with another content",
            )
    with hand_made_stores(requests=[Keyed(None, Record("requests", 3, 9, 5, b"x"))]) as tables:
        assert checked(tables, "bad requests").differences == ("requests/3@9 has no dead letter",)


def test_a_message_that_is_no_dead_letter_is_none() -> None:
    for value in (None, b"", b"[]", b"{}", b'{"topic": "x"}', b"\xff"):
        assert letter_of(value) is None
