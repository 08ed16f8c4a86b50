"""The event contract: messages of the topics, and their parsing.

Parsing never raises: a message is an `Event`, a `ModerationRequest`, or a `BadMessage` value that gives the reason. All
times are integers: microseconds since the Unix epoch, UTC. They are exact, cheap to compare, and the same in every
store. The types are named tuples: immutable, and five times cheaper to make than frozen data classes.
"""

import base64
import re
import uuid
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

import orjson

from gourmetgram.moments import HOUR_US, MINUTE_US, SECOND_US, to_us
from gourmetgram.windows import COUNT_NAMES, COUNTED_KINDS, CountedKind

EventKind: TypeAlias = Literal[CountedKind, "upload"]
EVENT_KINDS: Final[tuple[EventKind, ...]] = (*COUNTED_KINDS, "upload")

MAX_COUNT: Final = 2**53
"""Largest count of a window. Values computed from such counts fit into 64 bits and into a double."""

MAX_FUTURE_US: Final = MINUTE_US
"""Longest lead of an event time over the broker time; a message with a longer one is malformed (rule 5 of
docs/rules.md)."""

LATE_AFTER_US: Final = HOUR_US
"""Age of an event at the broker from which it is late: counted, but without an alert (rule 4 of docs/rules.md)."""

EARLIEST_EVENT_US: Final = 1_577_836_800 * SECOND_US
"""2020-01-01 UTC. An earlier event time is that of a clock that was never set; it counts as absent (rule 2 of
docs/rules.md). So the tables of the lakehouse have a bounded number of partitions, one a day."""

MAX_TRIGGER_LENGTH: Final = 30
MAX_DEAD_LETTER_VALUE_BYTES: Final = 65_536
MAX_DEAD_LETTER_ERROR_LENGTH: Final = 500

_TIME_FIELDS: Final = ("viewed_at", "created_at", "uploaded_at")
_is_uuid: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_EVENT_KINDS: Final[frozenset[str]] = frozenset(EVENT_KINDS)
# Years 1 to 9999, the range of datetime.
_MIN_US: Final = -62_135_596_800_000_000
_MAX_US: Final = 253_402_300_799_999_999


class Record(NamedTuple):
    """Message of Kafka: its position and its bytes."""

    topic: str
    partition: int
    offset: int
    broker_time_us: int
    value: bytes | None


class BadMessage(NamedTuple):
    """A malformed message, and the reason.

    Attributes:
        error: the fault, with the value.
        reason: the fault without the value: one of a few texts, used as a label of counters.
    """

    error: str
    reason: str = "other"


class Event(NamedTuple):
    """One user event.

    Attributes:
        kind: kind of the event, from `event_type`; the topic does not matter.
        event_id: hyphenated lower-case UUID, the same in every duplicate of the event.
        image_id: hyphenated lower-case UUID of the image (for a comment's flag: of the comment's image).
        time_us: event time, microseconds since the epoch.
        broker_time_us: time at which the broker stored the record.
        actor_eligible: True when the actor's events may be used to score and to train.
        payload: the whole message, for fields that few readers need.
    """

    kind: EventKind
    event_id: str
    image_id: str
    time_us: int
    broker_time_us: int
    actor_eligible: bool
    payload: dict[str, Any]

    @property
    def is_history(self) -> bool:
        """True for a late event, which raises no alert."""
        return self.broker_time_us - self.time_us > LATE_AFTER_US


class ModerationRequest(NamedTuple):
    """A request to score an image as of `time_us`.

    Attributes:
        request_id: hyphenated UUID, the same each time the request is delivered.
        context: the window counts as of `time_us` (see `COUNT_NAMES`), and `read_to`; may be incomplete.
    """

    request_id: str
    image_id: str
    trigger: str
    time_us: int
    context: dict[str, Any]

    def counts(self) -> dict[str, int] | None:
        """Counts of the context when all of them are usable, else None."""
        counts = {name: self.context.get(name) for name in COUNT_NAMES}
        # bool is a subclass of int, but no count.
        if all(type(value) is int and 0 <= value <= MAX_COUNT for value in counts.values()):
            return counts  # type: ignore[return-value]
        return None

    def to_json(self) -> bytes:
        """Serialise for the moderation topic."""
        return orjson.dumps(
            {
                "request_id": self.request_id,
                "image_id": self.image_id,
                "trigger": self.trigger,
                "context": self.context,
                "timestamp": self.time_us / SECOND_US,
            }
        )


def parse_event(record: Record) -> Event | BadMessage:
    """Read a message of one of the four event topics."""
    message = _json_object(record.value)
    if isinstance(message, BadMessage):
        return message
    kind = message.get("event_type")
    if not isinstance(kind, str) or kind not in _EVENT_KINDS:
        return BadMessage(f"unknown event_type {_shown(kind)}", "unknown event_type")
    image_id = parse_uuid(message.get("image_id"))
    if image_id is None:
        return _bad_image_id(message)
    broker_time_us = record.broker_time_us
    time_us = _event_time(message)
    if time_us is None:
        time_us = broker_time_us
    elif time_us - broker_time_us > MAX_FUTURE_US:
        return BadMessage(
            "event time is more than 60 seconds after the broker's time of the record", "event time in the future"
        )
    # Positional arguments: seven keywords would cost more than parsing a time.
    return Event(
        cast(EventKind, kind),
        parse_uuid(message.get("event_id")) or record_uuid(record),
        image_id,
        time_us,
        broker_time_us,
        message.get("actor_eligible") is not False,
        message,
    )


def parse_request(record: Record) -> ModerationRequest | BadMessage:
    """Read a message of the moderation topic. Missing fields get defaults (rules 2, 6 and 7 of docs/rules.md)."""
    message = _json_object(record.value)
    if isinstance(message, BadMessage):
        return message
    image_id = parse_uuid(message.get("image_id"))
    if image_id is None:
        return _bad_image_id(message)
    trigger = message.get("trigger")
    if trigger is None:
        trigger = "unknown"
    if not isinstance(trigger, str) or not 0 < len(trigger) <= MAX_TRIGGER_LENGTH or not trigger.isprintable():
        return BadMessage(f"trigger must be a printable text of 1 to {MAX_TRIGGER_LENGTH} characters")
    context = message.get("context")
    if context is None:
        context = {}
    if not isinstance(context, dict):
        return BadMessage("context must be a JSON object")
    time_us = _unix_seconds(message.get("timestamp"))
    return ModerationRequest(
        request_id=parse_uuid(message.get("request_id")) or record_uuid(record),
        image_id=image_id,
        trigger=trigger,
        time_us=record.broker_time_us if time_us is None else time_us,
        context=context,
    )


def dead_letter(record: Record, consumer_group: str, error: str) -> bytes:
    """Build the dead letter of a malformed record.

    The value is cut to 64 KiB before it is encoded, so the dead letter of a record of the largest size still fits.
    """
    value = record.value or b""
    return orjson.dumps(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "consumer_group": consumer_group,
            "error": " ".join(error.split())[:MAX_DEAD_LETTER_ERROR_LENGTH],
            "value": base64.b64encode(value[:MAX_DEAD_LETTER_VALUE_BYTES]).decode(),
            "value_size": len(value),
            "failed_at": datetime.now(UTC).isoformat(),
        }
    )


def record_uuid(record: Record) -> str:
    """Made-up id of a message, from its position in Kafka (rule 7 of docs/rules.md)."""
    name = f"gourmetgram:{record.topic}/{record.partition}/{record.offset}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def request_uuid(image_id: str, trigger: str, event_id: str | None) -> str:
    """Id of a moderation request, from its cause: a redelivery has the same id.

    Args:
        image_id: image to score.
        trigger: name of the condition, e.g. `viral`.
        event_id: the triggering event; None for anchors, which happen once per image.
    """
    parts = [image_id, trigger] if event_id is None else [image_id, trigger, event_id]
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "gourmetgram:" + "/".join(parts)))


def parse_uuid(value: object) -> str | None:
    """Return a hyphenated UUID in lower case, or None when the value is anything else."""
    if isinstance(value, str) and _is_uuid(value):
        return value.lower()
    return None


def parse_time(value: object) -> int | None:
    """Microseconds of an ISO-8601 text, or None for any other text; a text without an offset is UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    microseconds = to_us(moment)
    # An offset can move a time of the first or last day out of the calendar.
    return microseconds if _MIN_US <= microseconds <= _MAX_US else None


def _unix_seconds(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not _MIN_US <= value * SECOND_US <= _MAX_US:
        return None
    return round(value * SECOND_US)


def _event_time(message: dict[str, Any]) -> int | None:
    for field in _TIME_FIELDS:
        if field in message:
            time_us = parse_time(message[field])
            if time_us is not None and time_us >= EARLIEST_EVENT_US:
                return time_us
    time_us = _unix_seconds(message.get("timestamp"))
    return time_us if time_us is not None and time_us >= EARLIEST_EVENT_US else None


def _json_object(value: bytes | None) -> dict[str, Any] | BadMessage:
    if value is None:
        return BadMessage("the message has no value", "no value")
    try:
        message = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return BadMessage(f"not JSON: {error}", "not JSON")
    if not isinstance(message, dict):
        return BadMessage(f"not a JSON object but {type(message).__name__}", "not a JSON object")
    return message


def _bad_image_id(message: dict[str, Any]) -> BadMessage:
    return BadMessage(f"missing or invalid image_id {_shown(message.get('image_id'))}", "missing or invalid image_id")


def _shown(value: object) -> str:
    """A client's value, short and escaped, fit for an error text."""
    return repr(value)[:100]
