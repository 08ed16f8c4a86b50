"""Section 6 of the contract: which messages are accepted, and what they mean."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.events import (
    EARLIEST_EVENT_US,
    BadMessage,
    Event,
    ModerationRequest,
    Record,
    dead_letter,
    parse_event,
    parse_request,
    parse_time,
    parse_uuid,
    record_uuid,
    request_uuid,
)
from gourmetgram.windows import COUNT_NAMES

IMAGE = "0b1f2c3d-1111-4222-8333-944455556666"
EVENT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
NOW_US = 1_763_700_000_123_456
NOW = "2025-11-21T04:40:00.123456+00:00"


def record(message: object, broker_time_us: int = NOW_US, topic: str = "gourmetgram.views", offset: int = 7) -> Record:
    value = message if isinstance(message, bytes) or message is None else json.dumps(message).encode()
    return Record(topic, 2, offset, broker_time_us, value)


def view(**fields: Any) -> dict[str, Any]:
    return {"event_type": "view", "event_id": EVENT, "image_id": IMAGE, "viewed_at": NOW, **fields}


def accepted(message: dict[str, Any], **place: Any) -> Event:
    event = parse_event(record(message, **place))
    assert isinstance(event, Event), event
    return event


def refusal(message: object, **place: Any) -> str:
    bad = parse_event(record(message, **place))
    assert isinstance(bad, BadMessage)
    return bad.error


# --- events ----------------------------------------------------------------------------------------------------------


def test_an_event_keeps_what_it_says() -> None:
    assert accepted(view()) == Event("view", EVENT, IMAGE, NOW_US, NOW_US, True, view())


@pytest.mark.parametrize("kind", ["view", "comment", "flag", "upload"])
def test_the_event_type_decides_the_kind_and_not_the_topic(kind: str) -> None:
    assert accepted(view(event_type=kind), topic="gourmetgram.flags").kind == kind


@pytest.mark.parametrize("kind", [None, "like", "", "VIEW", 1, ["view"], {"a": 1}, True])
def test_an_unknown_event_type_is_a_bad_message(kind: object) -> None:
    assert "unknown event_type" in refusal(view(event_type=kind))


@pytest.mark.parametrize(
    "image_id", [None, "", "x", 5, IMAGE.replace("-", ""), "{" + IMAGE + "}", [IMAGE], IMAGE + "\n"]
)
def test_a_missing_or_invalid_image_is_a_bad_message(image_id: object) -> None:
    assert "image_id" in refusal(view(image_id=image_id))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object but list"),
        (b'"view"', "not a JSON object but str"),
        (b"null", "not a JSON object but NoneType"),
        (b"7", "not a JSON object but int"),
    ],
)
def test_what_is_no_json_object_is_a_bad_message(value: bytes | None, reason: str) -> None:
    assert reason in refusal(value)


def test_ids_are_stored_in_lower_case() -> None:
    event = accepted(view(event_id=EVENT.upper(), image_id=IMAGE.upper()))
    assert (event.event_id, event.image_id) == (EVENT, IMAGE)


@pytest.mark.parametrize("event_id", [None, "", "no uuid", 12, EVENT.replace("-", "")])
def test_a_missing_or_bad_event_id_follows_from_the_place_of_the_record(event_id: object) -> None:
    name = "gourmetgram:gourmetgram.views/2/7"
    expected = str(uuid.uuid5(uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), name))
    assert accepted(view(event_id=event_id)).event_id == expected == record_uuid(record(view()))


@pytest.mark.parametrize("value", [True, None, 0, "false", "", [], "no"])
def test_only_false_makes_an_actor_ineligible(value: object) -> None:
    assert accepted(view(actor_eligible=value)).actor_eligible
    assert accepted(view()).actor_eligible
    assert not accepted(view(actor_eligible=False)).actor_eligible


# --- times -----------------------------------------------------------------------------------------------------------


def test_the_first_usable_time_field_counts() -> None:
    times: dict[str, object] = {"viewed_at": "2025-11-21T00:00:01Z", "created_at": "2025-11-21T00:00:02Z"}
    times |= {"uploaded_at": "2025-11-21T00:00:03Z", "timestamp": 1763683204}
    second = datetime(2025, 11, 21, tzinfo=UTC)
    for number, name in enumerate(list(times), 1):
        expected = round((second + timedelta(seconds=number)).timestamp() * 1_000_000)
        message = {key: value for key, value in view().items() if key != "viewed_at"}
        assert accepted({**message, **times}).time_us == expected
        # Unparsable is absent: the next one counts.
        times[name] = "no time"
    assert accepted({**message, **times}).time_us == NOW_US


@pytest.mark.parametrize("text", ["2019-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_time_of_a_clock_that_was_never_set_counts_as_absent(text: str) -> None:
    assert accepted(view(viewed_at=text)).time_us == NOW_US
    assert accepted(view(viewed_at=text, timestamp=0)).time_us == NOW_US
    assert accepted(view(viewed_at="2020-01-01T00:00:00Z")).time_us == EARLIEST_EVENT_US


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-21T04:40:00.123456", NOW_US),
        ("2025-11-21T04:40:00.123456Z", NOW_US),
        ("2025-11-20T23:40:00.123456-05:00", NOW_US),
        ("2025-11-21 04:40:00.123456+00:00", NOW_US),
        ("2025-11-21T04:40:00", NOW_US - 123_456),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("0001-01-01T00:00:00+10:00", None),
        ("9999-12-31T23:59:59.999999-10:00", None),
        ("2025-13-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (1763700000, None),
        (None, None),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: object, expected: int | None) -> None:
    assert parse_time(text) == expected


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001 - made aware below
    st.integers(-1439, 1439),
)
def test_every_microsecond_is_kept(moment: datetime, offset_minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    exact = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_time(aware.isoformat()) == exact


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1763700000, NOW_US - 123_456),
        (1763700000.123456, NOW_US),
        (True, NOW_US),
        ("1763700000", NOW_US),
        (1e300, NOW_US),
        (-1e18, NOW_US),
        (None, NOW_US),
    ],
)
def test_a_timestamp_is_unix_seconds_and_anything_else_means_the_brokers_time(timestamp: object, expected: int) -> None:
    message = {"event_type": "view", "image_id": IMAGE, "timestamp": timestamp}
    assert accepted(message).time_us == expected


def test_a_time_more_than_60_seconds_ahead_of_the_broker_is_a_bad_message() -> None:
    assert accepted(view(), broker_time_us=NOW_US - 60_000_000).time_us == NOW_US
    assert "more than 60 seconds" in refusal(view(), broker_time_us=NOW_US - 60_000_001)


def test_an_event_that_is_more_than_an_hour_late_is_history() -> None:
    assert not accepted(view(), broker_time_us=NOW_US + 3_600_000_000).is_history
    assert accepted(view(), broker_time_us=NOW_US + 3_600_000_001).is_history


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
event_fields = "event_type event_id image_id viewed_at created_at uploaded_at timestamp actor_eligible"
names = st.sampled_from(f"{event_fields} request_id trigger context".split())
likely = st.sampled_from(["view", "upload", IMAGE, EVENT, NOW, False, True, 1763700000, 1e308, {}, "viral"])


@given(st.dictionaries(names | st.text(max_size=5), json_values | likely, max_size=8))
def test_reading_never_raises(message: dict[str, object]) -> None:
    whole = record(json.dumps(message).encode())
    assert isinstance(parse_event(whole), Event | BadMessage)
    assert isinstance(parse_request(whole), ModerationRequest | BadMessage)


@given(st.binary(max_size=200))
def test_reading_bytes_never_raises(value: bytes) -> None:
    assert isinstance(parse_event(record(value)), Event | BadMessage)
    assert isinstance(parse_request(record(value)), ModerationRequest | BadMessage)


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_request_survives_the_way_through_kafka() -> None:
    counts = {name: number for number, name in enumerate(COUNT_NAMES)}
    request = ModerationRequest(EVENT, IMAGE, "viral", NOW_US, {**counts, "read_to": {"gourmetgram.views": 5}})
    assert set(orjson.loads(request.to_json())) == {"request_id", "image_id", "trigger", "context", "timestamp"}
    back = parse_request(record(request.to_json()))
    assert back == request
    assert back.counts() == counts


def test_what_a_request_lacks_follows_from_its_record() -> None:
    request = parse_request(record({"image_id": IMAGE}))
    assert request == ModerationRequest(record_uuid(record({})), IMAGE, "unknown", NOW_US, {})
    assert request.counts() is None


@pytest.mark.parametrize(
    "fields",
    [{"image_id": "x"}, {"trigger": ""}, {"trigger": "x" * 31}, {"trigger": "a\nb"}, {"trigger": 5}, {"context": []}],
)
def test_a_malformed_request_is_a_bad_message(fields: dict[str, object]) -> None:
    assert isinstance(parse_request(record({"image_id": IMAGE, **fields})), BadMessage)


def test_a_request_id_follows_from_image_trigger_and_event() -> None:
    namespace = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
    with_event = uuid.uuid5(namespace, f"gourmetgram:{IMAGE}/viral/{EVENT}")
    anchor = uuid.uuid5(namespace, f"gourmetgram:{IMAGE}/anchor_5")
    assert request_uuid(IMAGE, "viral", EVENT) == str(with_event)
    assert request_uuid(IMAGE, "anchor_5", None) == str(anchor)


def test_uuids_are_hyphenated_text() -> None:
    assert parse_uuid(IMAGE.upper()) == IMAGE
    for value in (uuid.UUID(IMAGE), uuid.UUID(IMAGE).hex, None, 5, b"x", IMAGE + " "):
        assert parse_uuid(value) is None


# --- dead letters ----------------------------------------------------------------------------------------------------


def test_a_dead_letter_holds_the_record_and_the_reason() -> None:
    letter = json.loads(dead_letter(record(b"\x00bad"), "group", "first line\nsecond line"))
    assert datetime.fromisoformat(letter.pop("failed_at")).tzinfo is not None
    assert base64.b64decode(letter.pop("value")) == b"\x00bad"
    assert letter == {
        "topic": "gourmetgram.views",
        "partition": 2,
        "offset": 7,
        "consumer_group": "group",
        "error": "first line second line",
        "value_size": 4,
    }


def test_a_huge_dead_letter_is_cut() -> None:
    letter = json.loads(dead_letter(record(b"x" * 1_000_000), "group", "e" * 5000))
    assert len(base64.b64decode(letter["value"])) == 65_536
    assert letter["value_size"] == 1_000_000
    assert len(letter["error"]) == 500


def test_a_dead_letter_of_nothing_is_empty() -> None:
    letter = json.loads(dead_letter(record(None), "group", "the message has no value"))
    assert (letter["value"], letter["value_size"]) == ("", 0)
