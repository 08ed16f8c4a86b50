"""A request that was raised and that the broker has not confirmed yet, as Redis keeps it."""

from dataclasses import dataclass
from typing import Any, Self

import orjson

from gourmetgram.events import ModerationRequest, request_uuid
from stream_consumer.partitions import TopicPartition


@dataclass(slots=True)
class Pending:
    """A request on its way.

    Attributes:
        image_id: the image to judge.
        trigger: why, e.g. `viral`.
        event_id: the triggering event; None for anchors.
        time_us: t of the request.
        partition: partition number of the image's events.
        source: partition and offset of the triggering record; None for anchors.
        count: what met the condition.
        context: counts as of t and `read_to`; None until the co-partitions are read far enough.
        raised_at_us: broker time up to which the trigger's partition was read when it was raised; None after a restart.
        targets: offsets to read to before the context can be taken; None until they are known.
    """

    image_id: str
    trigger: str
    event_id: str | None
    time_us: int
    partition: int
    source: tuple[TopicPartition, int] | None
    count: int = 0
    context: dict[str, Any] | None = None
    raised_at_us: int | None = None
    targets: dict[TopicPartition, int] | None = None

    @classmethod
    def from_json(cls, value: bytes | dict[str, Any]) -> Self:
        """Read what apply.lua or freeze.lua wrote."""
        fields = value if isinstance(value, dict) else orjson.loads(value)
        partition = int(fields["partition"])
        return cls(
            image_id=fields["image_id"],
            trigger=fields["trigger"],
            event_id=fields.get("event_id"),
            time_us=int(fields["time_us"]),
            partition=partition,
            source=(TopicPartition(fields["topic"], partition), int(fields["offset"])) if "topic" in fields else None,
            count=int(fields["count"]),
            context=fields.get("context"),
        )

    @classmethod
    def anchor(cls, identity: str, time_us: int, partition: int) -> Self:
        """An anchor whose time has come; `identity` is `<image>/anchor_<minutes>`."""
        image_id, trigger = identity.split("/")
        return cls(image_id, trigger, None, time_us, partition, None)

    @property
    def identity(self) -> str:
        """The request's name in Redis; its request_id follows from it."""
        parts = (self.image_id, self.trigger, self.event_id)
        return "/".join(part for part in parts if part is not None)

    def message(self) -> bytes:
        """The message for the moderation topic."""
        return ModerationRequest(
            request_id=request_uuid(self.image_id, self.trigger, self.event_id),
            image_id=self.image_id,
            trigger=self.trigger,
            time_us=self.time_us,
            context=self.context or {},
        ).to_json()
