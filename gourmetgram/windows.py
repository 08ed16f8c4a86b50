"""Vocabulary of the rolling windows: widths, counts, triggers, milestones and TTLs.

A window (t - width, t] counts events by eligible actors on one image. Times end in `_us` (microseconds) or `_s`.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field

from gourmetgram.moments import HOUR_US, MINUTE_US
from gourmetgram.settings import Settings, split_commas

WindowName: TypeAlias = Literal["1min", "5min", "1hr"]

WINDOW_US: Final[Mapping[WindowName, int]] = {"1min": MINUTE_US, "5min": 5 * MINUTE_US, "1hr": HOUR_US}
"""Width of each window."""

LONGEST_WINDOW: Final[WindowName] = "1hr"
"""Window whose set in Redis contains the members of all other windows."""

CountedKind: TypeAlias = Literal["view", "comment", "flag"]

COUNTED_KINDS: Final[Mapping[CountedKind, str]] = {"view": "views", "comment": "comments", "flag": "flags"}
"""Kinds of events that windows count, with their plurals, which name keys and counts."""


class CountedWindow(NamedTuple):
    """One count of a request's context: events of a kind in a window."""

    kind: CountedKind
    window: WindowName

    @property
    def width_us(self) -> int:
        """Width of the window."""
        return WINDOW_US[self.window]


COUNTED_WINDOWS: Final[Mapping[str, CountedWindow]] = {
    "views_5min": CountedWindow("view", "5min"),
    "views_1hr": CountedWindow("view", "1hr"),
    "comments_1min": CountedWindow("comment", "1min"),
    "comments_5min": CountedWindow("comment", "5min"),
    "comments_1hr": CountedWindow("comment", "1hr"),
    "flags_5min": CountedWindow("flag", "5min"),
    "flags_1hr": CountedWindow("flag", "1hr"),
}
"""Counts of a request's context by name, all as of the request's time."""

COUNT_NAMES: Final = tuple(COUNTED_WINDOWS)

MILESTONES: Final = (10, 100, 1000)
"""Total views of an image that are recorded in PostgreSQL."""

COOL_DOWN_US: Final = HOUR_US
"""Event time after an alert in which the same trigger does not fire again for the image."""

_DAY_S: Final = 86_400
WINDOW_TTL_S: Final[Mapping[WindowName, int]] = {"1min": 60, "5min": 300, "1hr": 7_200}
IDLE_TTL_S: Final = 7 * _DAY_S
"""TTL of totals and metadata after their last change."""

ALERT_TTL_S: Final = 7 * _DAY_S
"""Longer than the cool-down, which runs in event time: a consumer that was stopped for days still knows its alerts."""

ONCE_TTL_S: Final = 30 * _DAY_S
"""TTL of an alert that an image has once (upload, anchors): as long as Kafka keeps the event behind it."""

UPLOAD_TRIGGER: Final = "upload"
MAX_ANCHOR_MINUTES: Final = 1_440
"""Anchors describe the first day of an image, as labels do."""

_ANCHOR: Final = "anchor_"


def anchor_trigger(minutes: int) -> str:
    """Trigger of the request that scores an image `minutes` after its upload."""
    return f"{_ANCHOR}{minutes}"


def anchor_minutes(trigger: str) -> int | None:
    """Minutes after the upload, or None when the trigger is no anchor."""
    minutes = trigger.removeprefix(_ANCHOR)
    return int(minutes) if trigger.startswith(_ANCHOR) and minutes.isdecimal() else None


class WindowTrigger(NamedTuple):
    """Condition on one count.

    Attributes:
        name: trigger of the alert and of the request.
        count_name: one of `COUNT_NAMES`.
        threshold: smallest count that fires.
        sends_request: False for a trigger that is only logged.
    """

    name: str
    count_name: str
    threshold: int
    sends_request: bool


Threshold = Annotated[int, Field(ge=1)]
AnchorMinutes = Annotated[int, Field(ge=1, le=MAX_ANCHOR_MINUTES)]


class TriggerSettings(Settings):
    """Settings of the triggers, for the stream consumer and for the audit, which recomputes its alerts."""

    viral_threshold_views_5min: Threshold = 100
    suspicious_threshold_comments_1min: Threshold = 10
    flagged_threshold_flags_5min: Threshold = 2
    popular_threshold_views_1hr: Threshold = 50
    trigger_on_upload: bool = False
    rescore_at_minutes: Annotated[tuple[AnchorMinutes, ...], BeforeValidator(split_commas)] = ()
    """Anchors: minutes after the upload at which an image is scored again."""

    def window_triggers(self) -> tuple[WindowTrigger, ...]:
        """Triggers on windows."""
        return (
            WindowTrigger("viral", "views_5min", self.viral_threshold_views_5min, sends_request=True),
            WindowTrigger("suspicious", "comments_1min", self.suspicious_threshold_comments_1min, sends_request=True),
            WindowTrigger("flagged", "flags_5min", self.flagged_threshold_flags_5min, sends_request=True),
            WindowTrigger("popular", "views_1hr", self.popular_threshold_views_1hr, sends_request=False),
        )
