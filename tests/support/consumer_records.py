"""Records of events, as the unit tests of the stream consumer need them."""

import json
import uuid

from gourmetgram.events import Record
from gourmetgram.kafka.partitions import Partition
from gourmetgram.moments import from_us

START_US = 1_763_700_000_000_000
IMAGE = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))

VIEWS = Partition("views", 0)
COMMENTS = Partition("comments", 0)


def record(
    partition: Partition,
    offset: int,
    kind: str = "view",
    image_id: str = IMAGE,
    time_us: int = START_US,
    **fields: object,
) -> Record:
    """A good event, stored by the broker at its own time. Its event_id follows from its position."""
    message = {
        "event_type": kind,
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{partition}@{offset}")),
        "image_id": image_id,
        "created_at": from_us(time_us).isoformat(),
        "actor_eligible": True,
        **fields,
    }
    return Record(*partition, offset, time_us, json.dumps(message).encode())


def bad_record(partition: Partition, offset: int, time_us: int = START_US) -> Record:
    """A record that is no event."""
    return Record(*partition, offset, time_us, b"{")
