"""A pending request: raised, and not yet confirmed by the broker, as Redis keeps it."""

from dataclasses import dataclass
from typing import Any, Self

import orjson

from gourmetgram.events import ModerationRequest, request_uuid
from gourmetgram.kafka.partitions import Partition, Position


@dataclass(slots=True)
class PendingRequest:
    """A condition that was met, and the request that it raises.

    Attributes:
        image_id: image to score.
        trigger: name of the condition, e.g. `viral`.
        event_id: the triggering event; None for anchors.
        time_us: t of the request.
        partition: partition number of the image's events.
        source: position of the triggering record; None for anchors.
        count: the count that met the condition.
        sends_request: False for a condition that is only logged.
        context: counts as of t and `read_to`; None until the co-partitions are applied far enough.
        raised_at_us: broker time up to which the trigger's partition was applied then; None after a restart.
        targets: offsets up to which the co-partitions must be applied; None until they are known.
    """

    image_id: str
    trigger: str
    event_id: str | None
    time_us: int
    partition: int
    source: Position | None
    count: int = 0
    sends_request: bool = True
    context: dict[str, Any] | None = None
    raised_at_us: int | None = None
    targets: dict[Partition, int] | None = None

    @classmethod
    def from_json(cls, value: bytes | dict[str, Any]) -> Self:
        """Read the JSON of apply.lua or freeze.lua."""
        fields = value if isinstance(value, dict) else orjson.loads(value)
        number = int(fields["partition"])
        return cls(
            image_id=fields["image_id"],
            trigger=fields["trigger"],
            event_id=fields.get("event_id"),
            time_us=int(fields["time_us"]),
            partition=number,
            source=Position(Partition(fields["topic"], number), int(fields["offset"])) if "topic" in fields else None,
            count=int(fields["count"]),
            sends_request=fields["request"],
            context=fields.get("context"),
        )

    @classmethod
    def anchor(cls, identity: str, time_us: int, partition: int) -> Self:
        """An anchor whose time has come; `identity` is `<image>/anchor_<minutes>`."""
        image_id, trigger = identity.split("/")
        return cls(image_id, trigger, None, time_us, partition, None)

    @property
    def identity(self) -> str:
        """Name of the request in Redis: `<image>/<trigger>[/<event>]`. Its request_id follows from it."""
        parts = (self.image_id, self.trigger, self.event_id)
        return "/".join(part for part in parts if part is not None)

    @property
    def request_id(self) -> str:
        """Id of the request, the same after each loss of state."""
        return request_uuid(self.image_id, self.trigger, self.event_id)

    def message(self) -> bytes:
        """Message for the moderation topic."""
        return ModerationRequest(
            request_id=self.request_id,
            image_id=self.image_id,
            trigger=self.trigger,
            time_us=self.time_us,
            context=self.context or {},
        ).to_json()
