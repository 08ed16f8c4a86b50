"""Which requests, alerts and milestones the rules demand, worked out again from the events alone.

A second, slow and plain implementation of the stream consumer's rules (sections 8 and 15 of the contract), so that an
error in the fast one cannot hide.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from gourmetgram.events import EventKind, request_uuid
from gourmetgram_tools.inspection.event_log import Accepted, AcceptedEvents
from gourmetgram_tools.inspection.history import History, ImageHistory, Upload
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
"""The counts of a request's context: whose events, and how far back."""


class Rule(NamedTuple):
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
        broker_time_us: when the broker stored the triggering event.
    """

    image_id: str
    trigger: str
    time_us: int
    event_id: str | None
    broker_time_us: int

    @property
    def request_id(self) -> str:
        """The id that its request must have."""
        return request_uuid(self.image_id, self.trigger, self.event_id)


def window_rules(rules: TriggerRules) -> tuple[Rule, ...]:
    """The conditions on windows."""
    return (
        Rule("viral", "views_5min", rules.viral_threshold_views_5min, True),
        Rule("suspicious", "comments_1min", rules.suspicious_threshold_comments_1min, True),
        Rule("flagged", "flags_5min", rules.flagged_threshold_flags_5min, True),
        Rule("popular", "views_1hr", rules.popular_threshold_views_1hr, False),
    )


def raised_by(image_id: str, events: Iterable[Accepted], rule: Rule) -> Iterator[Raised]:
    """When a rule fires on an image.

    Args:
        image_id: the image.
        events: its accepted events of the rule's kind, in offset order.
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
            yield Raised(image_id, rule.trigger, t, event.event_id, event.broker_time_us)


def all_raised(history: History, rules: TriggerRules) -> Iterator[tuple[Rule, Raised]]:
    """Every firing of the window rules, on images whose events have a defined order."""
    conditions = window_rules(rules)
    for image_id, image in history.images.items():
        if image.scattered:
            continue
        for rule in conditions:
            events = image.accepted[WINDOWS[rule.counter][0]]
            if len(events) >= rule.threshold and not events.all_history:
                for raised in raised_by(image_id, events, rule):
                    yield rule, raised


def of_upload(image_id: str, upload: Upload, trigger: str) -> Raised | None:
    """The request that trigger `upload` or `anchor_<minutes>` makes of an upload, or None when it makes none."""
    if not upload.eligible or upload.event.is_history:
        return None
    event = upload.event
    if trigger == "upload":
        return Raised(image_id, trigger, event.time_us, event.event_id, event.broker_time_us)
    minutes = trigger.removeprefix("anchor_")
    if not trigger.startswith("anchor_") or not minutes.isdecimal():
        return None
    return Raised(image_id, trigger, event.time_us + int(minutes) * 60 * SECOND_US, None, event.broker_time_us)


def count_as_of(image: ImageHistory, name: str, time_us: int, read_to: Mapping[str, int]) -> int:
    """One count of a request's context: accepted events below `read_to`, in (t - w, t].

    Args:
        image: the image's events.
        name: one of `WINDOWS`.
        time_us: t.
        read_to: for each topic, the first offset that no longer counts; a topic that is not named counts nothing.
    """
    kind, width = WINDOWS[name]
    return sum(
        time_us - width < event.time_us <= time_us and event.offset < read_to.get(event.topic, 0)
        for event in image.accepted[kind]
    )


def milestones(views: AcceptedEvents, idle_us: int) -> set[int]:
    """The milestones that an image's views reached; the counter starts again after `idle_us` without a view."""
    most = max(map(len, since_gaps(views, idle_us)), default=0)
    return {milestone for milestone in MILESTONES if most >= milestone}


def since_gaps(events: AcceptedEvents, idle_us: int) -> list[AcceptedEvents]:
    """Cut a history where the broker saw nothing for `idle_us` or longer: a key of that idle time expires there."""
    if not events:
        return []
    cuts = [0, *(np.flatnonzero(np.diff(events.broker_times) >= idle_us) + 1).tolist(), len(events)]
    return [events[begin:end] for begin, end in pairwise(cuts)]
