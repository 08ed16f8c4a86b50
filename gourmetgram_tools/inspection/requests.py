"""The requests and the dead letters that stand in Kafka."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from gourmetgram.events import BadMessage, ModerationRequest, parse_request
from gourmetgram_tools.inspection.history import BadRecord
from gourmetgram_tools.inspection.kafka_reading import Keyed


@dataclass
class Requests:
    """The moderation topic's messages, each request once.

    Attributes:
        by_id: the first copy of each request.
        places: partition and offset of every copy.
        differing: ids of requests whose copies are not the same.
        bad: messages that cannot be read as a request.
    """

    by_id: dict[str, ModerationRequest] = field(default_factory=dict)
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)

    @classmethod
    def of(cls, records: Iterable[Keyed]) -> "Requests":
        """Read the records of the moderation topic."""
        requests = cls()
        for _, record in records:
            request = parse_request(record)
            if isinstance(request, BadMessage):
                requests.bad.append(BadRecord(record.topic, record.partition, record.offset, request.error))
                continue
            requests.places.setdefault(request.request_id, []).append((record.partition, record.offset))
            if requests.by_id.setdefault(request.request_id, request) != request:
                requests.differing.append(request.request_id)
        return requests

    @property
    def copies(self) -> int:
        """How many messages repeat an earlier one."""
        return sum(map(len, self.places.values())) - len(self.places)


class DeadLetter(NamedTuple):
    """A dead letter: where the record stood, who refused it, and why."""

    topic: str
    partition: int
    offset: int
    consumer_group: str
    error: str
    value: str
    """Base64 of the record's first 64 KiB."""


def dead_letter_of(record_value: bytes | None) -> DeadLetter | None:
    """Read a message of the dead-letter topic; None when it is not one."""
    try:
        message: Any = orjson.loads(record_value or b"")
        return DeadLetter(
            topic=str(message["topic"]),
            partition=int(message["partition"]),
            offset=int(message["offset"]),
            consumer_group=str(message["consumer_group"]),
            error=str(message["error"]),
            value=str(message["value"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
