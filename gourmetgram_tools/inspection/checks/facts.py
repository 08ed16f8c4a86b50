"""What the checks compare, and what they answer."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gourmetgram_tools.inspection.history import History
from gourmetgram_tools.inspection.kafka_reading import Place, Range
from gourmetgram_tools.inspection.lakehouse import LakehouseReading
from gourmetgram_tools.inspection.platform import TriggerRules
from gourmetgram_tools.inspection.redis_state import RedisState
from gourmetgram_tools.inspection.requests import DeadLetter, Requests
from gourmetgram_tools.inspection.rows import Rows


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: short and stable; JSON readers and tests rely on it.
        proves: the statement that holds when there is no difference.
        expected: how many things there must be.
        actual: how many of them there are.
        differences: one sentence for each thing that is wrong.
    """

    name: str
    proves: str
    expected: int
    actual: int
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the statement holds."""
        return not self.differences


@dataclass(frozen=True)
class Note:
    """Something worth knowing that is no difference."""

    name: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Coverage:
    """From when on events must exist.

    API v1 writes rows without events, and Kafka removes old records. So a row without an event is a difference only
    when it was written while events existed, see `coverage`.

    Attributes:
        start_us: rows written at or after this moment must have their event.
        truncated: Kafka has already removed records, so images older than `start_us` have an incomplete history.
    """

    start_us: int
    truncated: bool


@dataclass(frozen=True)
class Facts:
    """Everything that was read.

    Attributes:
        dead_letters: those of the dead-letter topic that can be read.
        objects: when each object in the images' bucket was stored (microseconds since the epoch), by key.
        bucket: name of that bucket.
        consumer_group: group of the stream consumer, as dead letters name it.
        now_us: when the reading began.
        strict: rows of API v1 count as differences too.
    """

    history: History
    requests: Requests
    dead_letters: Collection[DeadLetter]
    rows: Rows
    redis: RedisState
    objects: Mapping[str, int]
    bucket: str
    moderation_topic: str
    consumer_group: str
    rules: TriggerRules
    event_ranges: Mapping[Place, Range]
    coverage: Coverage
    lakehouse: LakehouseReading
    now_us: int
    strict: bool = False

    def must_have_events(self, image_id: str, created_at_us: int) -> bool:
        """Whether a row of an image must have its event: written since events exist, or backfilled with events."""
        if self.strict or created_at_us >= self.coverage.start_us:
            return True
        image = self.rows.images.get(image_id)
        return not self.coverage.truncated and image is not None and image.source == "synthetic"

    def is_complete(self, image_id: str) -> bool:
        """Whether Kafka still holds every event that an image ever had."""
        if not self.coverage.truncated:
            return True
        image = self.rows.images.get(image_id)
        return image is not None and image.created_at_us >= self.coverage.start_us


def coverage(history: History, event_ranges: Mapping[Place, Range], rows: Rows, now_us: int) -> Coverage:
    """Find from when on events must exist.

    While Kafka holds every record since its first: the earliest broker time of an event (or the oldest event that
    waits in the outbox). After records were removed: the moment from which all partitions are complete.
    """
    removed = [place for place, span in event_ranges.items() if span.start > 0]
    if removed:
        return Coverage(max(history.first_broker_time_us.get(place, now_us) for place in removed), truncated=True)
    times = [*history.first_broker_time_us.values()]
    if rows.outbox_first_us is not None:
        times.append(rows.outbox_first_us)
    return Coverage(min(times, default=now_us), truncated=False)


def check(name: str, proves: str, expected: int, actual: int, differences: Iterable[str]) -> Check:
    """Build a result."""
    return Check(name, proves, expected, actual, tuple(differences))
