"""Required requests and alerts, derived a second time from the events alone.

This is a second, slow and plain implementation of rules 15 and 16 of docs/rules.md, so that an error of the stream
consumer cannot hide. Only the constants are shared (`gourmetgram.windows`).
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gourmetgram.events import LATE_AFTER_US, EventKind, request_uuid
from gourmetgram.moments import MINUTE_US
from gourmetgram.windows import (
    COOL_DOWN_US,
    COUNTED_WINDOWS,
    UPLOAD_TRIGGER,
    TriggerSettings,
    WindowTrigger,
    anchor_minutes,
)


class CountedEvent(NamedTuple):
    """The first record of an event by an eligible actor; times are in microseconds."""

    time_us: int
    broker_us: int
    event_id: str

    @property
    def is_history(self) -> bool:
        """True for an event that was too old for an alert when the broker received it."""
        return self.broker_us - self.time_us > LATE_AFTER_US


class ImageEvents(NamedTuple):
    """Counted events of one image and kind, in offset order."""

    image_id: str
    kind: EventKind
    events: Sequence[CountedEvent]


class Raised(NamedTuple):
    """A rule that fired.

    Attributes:
        time_us: t, as of which the image is scored.
        event_id: the triggering event; None for anchors.
        broker_us: broker time of the triggering event.
    """

    image_id: str
    trigger: str
    time_us: int
    event_id: str | None
    broker_us: int

    @property
    def request_id(self) -> str:
        """Id that its request must have."""
        return request_uuid(self.image_id, self.trigger, self.event_id)


def raised_by(image_id: str, events: Iterable[CountedEvent], rule: WindowTrigger) -> Iterator[Raised]:
    """Find the firings of a rule on an image.

    Args:
        image_id: the image.
        events: its counted events of the rule's kind, in offset order.
        rule: the condition.
    """
    width = COUNTED_WINDOWS[rule.count_name].width_us
    times: list[int] = []
    earliest_next: int | None = None
    for event in events:
        insort(times, event.time_us)
        t = times[-1]
        if event.is_history or (earliest_next is not None and t < earliest_next):
            continue
        if len(times) - bisect_right(times, t - width) >= rule.threshold:
            earliest_next = t + COOL_DOWN_US
            yield Raised(image_id, rule.name, t, event.event_id, event.broker_us)


def all_raised(images: Iterable[ImageEvents], rules: TriggerSettings) -> Iterator[tuple[WindowTrigger, Raised]]:
    """Find every firing of the window rules."""
    conditions = rules.window_triggers()
    for image in images:
        for rule in conditions:
            if COUNTED_WINDOWS[rule.count_name].kind == image.kind and len(image.events) >= rule.threshold:
                for raised in raised_by(image.image_id, image.events, rule):
                    yield rule, raised


def of_upload(image_id: str, upload: CountedEvent, trigger: str) -> Raised | None:
    """Request of the trigger `upload` or `anchor_<minutes>` for an upload; None when it must not exist."""
    if upload.is_history:
        return None
    if trigger == UPLOAD_TRIGGER:
        return Raised(image_id, trigger, upload.time_us, upload.event_id, upload.broker_us)
    minutes = anchor_minutes(trigger)
    if minutes is None:
        return None
    return Raised(image_id, trigger, upload.time_us + minutes * MINUTE_US, None, upload.broker_us)
