"""Requests and alerts that the rules demand, worked out again from the events alone.

A second, slow and plain implementation of the stream consumer's rules (sections 8 and 15 of the contract), so that an
error in the fast one cannot hide.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gourmetgram.events import LATE_AFTER_US, EventKind, request_uuid
from gourmetgram_tools.inspection.platform import TriggerRules

SECOND_US: Final = 1_000_000
COOL_DOWN_US: Final = 3600 * SECOND_US
MILESTONES: Final = (10, 100, 1000)

WINDOWS: Final[Mapping[str, tuple[EventKind, int]]] = {
    "views_5min": ("view", 300 * SECOND_US),
    "views_1hr": ("view", 3600 * SECOND_US),
    "comments_1min": ("comment", 60 * SECOND_US),
    "comments_5min": ("comment", 300 * SECOND_US),
    "comments_1hr": ("comment", 3600 * SECOND_US),
    "flags_5min": ("flag", 300 * SECOND_US),
    "flags_1hr": ("flag", 3600 * SECOND_US),
}
"""The counts of a request's context: the kind of event, and the width of the window in microseconds."""


class CountedEvent(NamedTuple):
    """An event that counts: by an eligible actor, and the first of its copies. Times in microseconds."""

    time_us: int
    broker_us: int
    event_id: str

    @property
    def is_history(self) -> bool:
        """Too old to alert when the broker received it."""
        return self.broker_us - self.time_us > LATE_AFTER_US


class ImageEvents(NamedTuple):
    """The counted events of one image and kind, in offset order."""

    image_id: str
    kind: EventKind
    events: Sequence[CountedEvent]


class WindowRule(NamedTuple):
    """A condition on one window's count."""

    trigger: str
    counter: str
    threshold: int
    sends_request: bool


class Raised(NamedTuple):
    """A rule that fired.

    Attributes:
        time_us: t, as of which the image is judged.
        event_id: the triggering event; None for anchors.
        broker_us: when the broker stored the triggering event.
    """

    image_id: str
    trigger: str
    time_us: int
    event_id: str | None
    broker_us: int

    @property
    def request_id(self) -> str:
        """The id that its request must have."""
        return request_uuid(self.image_id, self.trigger, self.event_id)


def window_rules(rules: TriggerRules) -> tuple[WindowRule, ...]:
    """The conditions on windows."""
    return (
        WindowRule("viral", "views_5min", rules.viral_threshold_views_5min, True),
        WindowRule("suspicious", "comments_1min", rules.suspicious_threshold_comments_1min, True),
        WindowRule("flagged", "flags_5min", rules.flagged_threshold_flags_5min, True),
        WindowRule("popular", "views_1hr", rules.popular_threshold_views_1hr, False),
    )


def raised_by(image_id: str, events: Iterable[CountedEvent], rule: WindowRule) -> Iterator[Raised]:
    """The firings of a rule on an image.

    Args:
        image_id: the image.
        events: its counted events of the rule's kind, in offset order.
        rule: the condition.
    """
    _, width = WINDOWS[rule.counter]
    times: list[int] = []
    earliest_next: int | None = None
    for event in events:
        insort(times, event.time_us)
        t = times[-1]
        if event.is_history or (earliest_next is not None and t < earliest_next):
            continue
        if len(times) - bisect_right(times, t - width) >= rule.threshold:
            earliest_next = t + COOL_DOWN_US
            yield Raised(image_id, rule.trigger, t, event.event_id, event.broker_us)


def all_raised(images: Iterable[ImageEvents], rules: TriggerRules) -> Iterator[tuple[WindowRule, Raised]]:
    """Every firing of the window rules."""
    conditions = window_rules(rules)
    for image in images:
        for rule in conditions:
            if WINDOWS[rule.counter][0] == image.kind and len(image.events) >= rule.threshold:
                for raised in raised_by(image.image_id, image.events, rule):
                    yield rule, raised


def of_upload(image_id: str, upload: CountedEvent, trigger: str) -> Raised | None:
    """The request that trigger `upload` or `anchor_<minutes>` makes of an upload by an eligible user; None = none."""
    if upload.is_history:
        return None
    if trigger == "upload":
        return Raised(image_id, trigger, upload.time_us, upload.event_id, upload.broker_us)
    minutes = trigger.removeprefix("anchor_")
    if not trigger.startswith("anchor_") or not minutes.isdecimal():
        return None
    return Raised(image_id, trigger, upload.time_us + int(minutes) * 60 * SECOND_US, None, upload.broker_us)
